import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import { readDataSet } from "../../../src/training/data/read-data-set.js";

const folder = mkdtempSync(join(tmpdir(), "epalm-data-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string) => join(folder, name);
const write = (name: string, content: string | object) => {
  writeFileSync(at(name), typeof content === "string" ? content : JSON.stringify(content));
  return at(name);
};

before(async () => {
  mkdirSync(at("pairs/deep"), { recursive: true });
  const create = { width: 4, height: 4, channels: 3 as const, background: "red" };
  const image = await sharp({ create }).png().toBuffer();
  for (const name of ["a.png", "COCO_val2014_000000000042.jpg", "pairs/one.png", "pairs/deep/two.png"]) {
    writeFileSync(at(name), image);
  }
  write("text.png", "no picture");
  write("pairs/one.txt", "first\nsecond\n");
  write("pairs/deep/two.txt", "third\n");
});

describe("JSON lines", () => {
  it("contain captions and questions, with paths relative to the file", async () => {
    const lines = [
      '\uFEFF{"image": "a.png", "caption": " red ", "group": "north" }',
      "",
      '{"image": "a.png", "question": "what?", "answer": ["red", "red", "pink"]}\r',
    ];
    const { examples, skipped } = await readDataSet({ path: write("good.jsonl", lines.join("\n")) });
    const media = { modality: "image", path: at("a.png") };
    assert.deepEqual(examples, [
      { kind: "caption", where: `${at("good.jsonl")}:1`, media, group: "north", captions: ["red"] },
      {
        kind: "vqa",
        where: `${at("good.jsonl")}:3`,
        media,
        question: "what?",
        answers: ["red", "red", "pink"],
      },
    ]);
    assert.deepEqual(skipped, []);
  });

  const bad: [string, string, RegExp][] = [
    ["that are not JSON", "{image", /is not JSON/],
    ["with unknown keys", '{"image": "a.png", "caption": "x", "captoin": "y"}', /captoin/],
    ["with an empty group", '{"image": "a.png", "caption": "x", "group": ""}', /'group': expected/],
    ["without a medium", '{"caption": "x"}', /expected one of 'image', 'audio', 'video', got 0/],
    ["with two media", '{"image": "a.png", "audio": "a.wav", "caption": "x"}', /got 2/],
    [
      "without a caption or question",
      '{"image": "a.png"}',
      /expected 'caption', or 'question' and 'answer', got neither/,
    ],
    ["with an empty caption", '{"image": "a.png", "caption": " "}', /expected a non-empty string/],
    ["with a question and no answer", '{"image": "a.png", "question": "x"}', /got 'question'/],
    ["with a missing image", '{"image": "gone.png", "caption": "x"}', /gone\.png: no such file/],
    ["with a file that is not an image", '{"image": "text.png", "caption": "x"}', /expected an image/],
    ["with audio where images are expected", '{"audio": "a.png", "caption": "x"}', /expected 'image'/],
  ];
  for (const [what, line, cause] of bad) {
    it(`${what} are rejected by file, line and cause, or skipped`, async () => {
      const path = write("bad.jsonl", `{"image": "a.png", "caption": "x"}\n${line}\n`);
      const options = { modalities: ["image"] } as const;
      await assert.rejects(readDataSet({ path }, options), (error: Error & { code?: string }) => {
        assert.equal(error.code, "invalid_data");
        assert.match(error.message, /1 of 2 examples cannot be used: .*bad\.jsonl:2: /);
        assert.match(error.message, cause);
        return true;
      });
      const { examples, skipped } = await readDataSet({ path }, { ...options, skipBad: true });
      assert.equal(examples.length, 1);
      assert.deepEqual(
        skipped.map(({ where }) => where),
        [`${path}:2`],
      );
    });
  }

  it("without a good example are rejected even if bad ones are skipped", async () => {
    const path = write("none.jsonl", "{}\n");
    await assert.rejects(readDataSet({ path }, { skipBad: true }), { code: "invalid_data" });
  });
});

describe("public formats", () => {
  it("COCO captions contain each image with all its captions", async () => {
    const images = [{ id: 7, file_name: "a.png" }];
    const annotations = [
      { image_id: 7, caption: "one" },
      { image_id: 7, caption: "two" },
    ];
    const { examples } = await readDataSet({ path: write("coco.json", { images, annotations }) });
    assert.deepEqual(
      examples.map((example) => example.kind === "caption" && example.captions),
      [["one", "two"]],
    );
    const path = write("lost.json", { images, annotations: [...annotations, { image_id: 8, caption: "x" }] });
    await assert.rejects(readDataSet({ path }), /image 8: has captions, but is not listed in 'images'/);
  });

  it("VQA v2 joins questions, answers and the published names of images", async () => {
    const questions = [{ question_id: 1, image_id: 42, question: "what?" }];
    const path = write("questions.json", { data_subtype: "val2014", questions });
    const answers = [{ answer: "red" }, { answer: "pink" }];
    const annotations = write("annotations.json", { annotations: [{ question_id: 1, answers }] });
    const { examples } = await readDataSet({ path, annotations });
    assert.deepEqual(
      examples.map((example) => [example.media.path, example.kind === "vqa" && example.answers]),
      [[at("COCO_val2014_000000000042.jpg"), ["red", "pink"]]],
    );
  });

  it("folders pair media with .txt files of the same name, also in subfolders", async () => {
    const { examples } = await readDataSet({ path: at("pairs") });
    assert.deepEqual(examples.map((example) => example.kind === "caption" && example.captions).sort(), [
      ["first", "second"],
      ["third"],
    ]);
    write("pairs/lonely.txt", "x");
    await assert.rejects(readDataSet({ path: at("pairs") }), /lonely\.txt: expected a media file of the same name/);
  });

  it("reject settings that do not apply to them", async () => {
    await assert.rejects(readDataSet({ path: at("good.jsonl"), media: folder }), {
      code: "invalid_option",
      message: /'media' does not apply to json-lines/,
    });
  });
});
