import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { parse } from "csv-parse/sync";
import sharp from "sharp";
import { CsvRecords } from "../../../src/cli/bulk/csv-records.js";
import { answerObject } from "../../../src/cli/bulk/run-output.js";
import { membersOf } from "../../../src/cli/bulk/tar-media.js";
import { buildTiny, epalm, temporaryFolder } from "../../support/cli-process.js";
import { tarBytes } from "../../support/tar-bytes.js";

type Row = Record<string, string>;

const folder = temporaryFolder();
const model = join(folder, "tiny");
const on = ["--model", model, "--max-tokens", "4", "--threads", "1"];
const names = ["a.png", "b.v2.png", "c.png", "d.png", "e.png"];

before(async () => {
  mkdirSync(join(folder, "photos"));
  for (const [at, name] of names.entries()) {
    const background = { r: 50 * at, g: 200 - 40 * at, b: 30 };
    await sharp({ create: { width: 40, height: 30, channels: 3, background } })
      .png()
      .toFile(join(folder, "photos", name));
  }
  const built = await buildTiny(model);
  assert.equal(built.code, 0, built.stderr);
});

/** Photographs of its own, beside which a test may write. */
function ownPhotos(name: string): string {
  const own = join(folder, name);
  mkdirSync(own);
  for (const photo of names) copyFileSync(join(folder, "photos", photo), join(own, photo));
  return own;
}

async function succeeds(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await epalm([...args, ...on]);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** The captions by file. */
async function captions(photos: string): Promise<Map<string, string>> {
  const lines = (await succeeds("caption", photos, "--json")).trimEnd().split("\n");
  return new Map(lines.map((line) => JSON.parse(line)).map(({ file, text }) => [file, text]));
}

async function contentOf(tar: string): Promise<Map<string, string>> {
  const members = new Map<string, string>();
  for await (const { name, bytes } of membersOf(tar)) members.set(name, Buffer.from(bytes ?? []).toString());
  return members;
}

describe("CSV output", { concurrency: true }, () => {
  it("has a row per question, with the columns of the input, and is resumed", async () => {
    const photos = ownPhotos("csv");
    const table = join(photos, "in.csv");
    writeFileSync(table, `file,id,text\na.png,"1, or ""one""",mine\nlate.png,2,\nc.png,3,\n`);
    const output = join(photos, "out.csv");
    const args = ["vqa", table, "-q", "what?", "-q", 'how\n"many"?', "--scores", "-o", output, ...on];
    const once = await epalm(args);
    assert.equal(once.code, 1);
    const failed = parse(readFileSync(output), { columns: true }) as Row[];
    assert.deepEqual(
      failed.map(({ file, error }) => [file, error !== ""]),
      [
        ...[
          ["a.png", false],
          ["a.png", false],
        ],
        ...[
          ["late.png", true],
          ["late.png", true],
        ],
        ...[
          ["c.png", false],
          ["c.png", false],
        ],
      ],
    );

    copyFileSync(join(photos, "d.png"), join(photos, "late.png"));
    // As after kill -9.
    const whole = readFileSync(output, "utf8");
    writeFileSync(output, whole.slice(0, -30));
    const again = await epalm(args);
    assert.deepEqual([again.code, again.stderr], [0, "3 of 6 were already answered\n"]);
    const rows = parse(readFileSync(output), { columns: true }) as Row[];
    assert.deepEqual(rows.map(({ file, question, id, error }) => [file, question, id, error]).sort(), [
      ...["a.png", "c.png", "late.png"].flatMap((file, at) =>
        ['how\n"many"?', "what?"].map((question) => [file, question, ['1, or "one"', "3", "2"][at], ""]),
      ),
    ]);
    assert.ok(rows.every(({ text, score, model: name }) => text !== "mine" && Number(score) < 0 && name === "tiny"));
    assert.equal((await epalm(args)).stderr, "6 of 6 were already answered\n");
    assert.equal(parse(readFileSync(output)).length, 7);
  });

  it("rejects a file with another header", async () => {
    const output = join(folder, "foreign.csv");
    writeFileSync(output, "name,text\na,b\n");
    const { code, stderr } = await epalm(["caption", join(folder, "photos"), ...on, "-o", output]);
    assert.equal(code, 2);
    assert.match(stderr, /--output: .*foreign\.csv:1: expected a header that begins with file,modality/);
  });
});

describe("an output that is another file", { concurrency: true }, () => {
  for (const name of ["notes.jsonl", "notes.csv", "notes.tsv"]) {
    it(`is rejected and left unchanged, even without a line break at its end: ${name}`, async () => {
      const output = join(folder, name);
      writeFileSync(output, "my notes");
      const { code, stderr } = await epalm(["caption", join(folder, "photos"), ...on, "-o", output]);
      assert.equal(code, 2);
      assert.match(stderr, /^epalm: --output: .*notes\.\w+:1: expected an answer\n$/);
      assert.equal(readFileSync(output, "utf8"), "my notes");
    });
  }

  it("is rejected with a line that is not UTF-8", async () => {
    const output = join(folder, "binary.jsonl");
    writeFileSync(output, Buffer.from([0xff, 0x0a, 0x7b]));
    const { code, stderr } = await epalm(["caption", join(folder, "photos"), ...on, "-o", output]);
    assert.equal(code, 2);
    assert.match(stderr, /binary\.jsonl:1: expected UTF-8/);
  });
});

describe("sidecars", { concurrency: true }, () => {
  it("are written beside their media, once", async () => {
    const photos = ownPhotos("beside");
    assert.equal(await succeeds("caption", photos, "--sidecar", "txt"), "");
    const texts = await captions(photos);
    for (const [file, text] of texts) assert.equal(readFileSync(file.replace(/png$/, "txt"), "utf8"), `${text}\n`);
    writeFileSync(join(photos, "a.txt"), "mine\n");
    rmSync(join(photos, "c.txt"));
    const again = await epalm(["caption", photos, "--sidecar", "txt", ...on]);
    assert.deepEqual([again.code, again.stderr], [0, "4 of 5 were already answered\n"]);
    assert.equal(readFileSync(join(photos, "a.txt"), "utf8"), "mine\n");
    assert.ok(existsSync(join(photos, "c.txt")));
    for (let run = 0; run < 2; run++) await succeeds("caption", photos, "--sidecar", "txt", "--on-existing", "append");
    const own = texts.get(join(photos, "a.png"));
    assert.equal(readFileSync(join(photos, "a.txt"), "utf8"), `mine\n${own}\n`);
    await succeeds("caption", photos, "--sidecar", "txt", "--on-existing", "overwrite");
    assert.equal(readFileSync(join(photos, "a.txt"), "utf8"), `${own}\n`);
  });

  it("are written below a folder, with several questions and scores", async () => {
    const photos = ownPhotos("below");
    const output = join(folder, "sidecars");
    const ask = ["vqa", photos, "--sidecar", "json", "-o", output];
    await succeeds(...ask, "-q", "what?");
    const path = join(output, photos.slice(1), "b.v2.json");
    assert.equal(JSON.parse(readFileSync(path, "utf8")).question, "what?");
    for (let run = 0; run < 2; run++) await succeeds(...ask, "-q", "where?", "-q", "what?", "--on-existing", "append");
    const questions = JSON.parse(readFileSync(path, "utf8")).map(({ question }: { question: string }) => question);
    assert.deepEqual(questions, ["what?", "where?"]);
    await succeeds("vqa", photos, "--sidecar", "txt", "-o", output, "-q", "who?", "-q", "when?", "--scores");
    assert.match(
      readFileSync(path.replace(/json$/, "txt"), "utf8"),
      /^who\?\t-?\d+\.\d{4}\t.*\nwhen\?\t-?\d+\.\d{4}\t.*\n$/,
    );
    assert.deepEqual(readdirSync(photos).sort(), names);
  });

  it("are written only for media without failures, and for one of two files with the same name", async () => {
    const photos = ownPhotos("failing");
    writeFileSync(join(photos, "a.png"), "text");
    copyFileSync(join(photos, "c.png"), join(photos, "c.PNG"));
    const { code, stderr } = await epalm(["caption", photos, "--sidecar", "txt", ...on]);
    assert.equal(code, 1);
    assert.match(stderr, /c\.png: .*c\.txt is the sidecar of another file/);
    assert.deepEqual(
      readdirSync(photos)
        .filter((name) => name.endsWith(".txt"))
        .sort(),
      ["b.v2.txt", "c.txt", "d.txt", "e.txt"],
    );
  });

  it("need a folder for media that are no files", async () => {
    const tar = join(folder, "in.tar");
    writeFileSync(tar, await tarBytes([{ name: "x.png", bytes: readFileSync(join(folder, "photos/a.png")) }]));
    const { code, stderr } = await epalm(["caption", tar, "--sidecar", "txt", ...on]);
    assert.equal(code, 2);
    assert.match(stderr, /--sidecar: .*in\.tar\/x\.png is not a file; expected --output with a folder/);
    await succeeds("caption", tar, "--sidecar", "txt", "-o", join(folder, "members"));
    assert.ok(existsSync(join(folder, "members", tar.slice(1), "x.txt")));
  });
});

describe("WebDataset output", { concurrency: true }, () => {
  it("contains the members, texts and answers of each sample, and is resumed", async () => {
    const photos = join(folder, "photos");
    const pattern = join(folder, "out-%06d.tar");
    const args = ["caption", photos, "-o", pattern, "--samples-per-tar", "2"];
    await succeeds(...args);
    const tars = ["out-000000.tar", "out-000001.tar", "out-000002.tar"].map((name) => join(folder, name));
    assert.deepEqual(
      tars.map((tar) => existsSync(tar)),
      [true, true, true],
    );
    const texts = await captions(photos);
    const key = join(photos, "b_v2").slice(1);
    const first = await contentOf(tars[0] ?? "");
    assert.deepEqual(Array.from(first.keys()).slice(3), [`${key}.png`, `${key}.txt`, `${key}.json`]);
    assert.equal(first.get(`${key}.txt`), `${texts.get(join(photos, "b.v2.png"))}\n`);
    assert.equal(JSON.parse(first.get(`${key}.json`) ?? "").file, join(photos, "b.v2.png"));

    // A killed run leaves a file under a temporary name.
    const kept = readFileSync(tars[0] ?? "");
    rmSync(tars[1] ?? "");
    writeFileSync(join(folder, "out-000003.tar.tmp"), "x");
    const again = await epalm([...args, ...on]);
    assert.deepEqual([again.code, again.stderr], [0, "3 of 5 were already answered\n"]);
    assert.deepEqual(
      readdirSync(folder)
        .filter((name) => name.startsWith("out-"))
        .sort(),
      ["out-000000.tar", "out-000002.tar", "out-000003.tar"],
    );
    assert.deepEqual(readFileSync(tars[0] ?? ""), kept);
    const redone = await contentOf(join(folder, "out-000003.tar"));
    assert.deepEqual(Array.from(redone.keys()).filter((name) => name.endsWith(".png")).length, 2);
  });

  it("keeps the members of its input, and several answers", async () => {
    const tar = join(folder, "given.tar");
    const png = readFileSync(join(folder, "photos/a.png"));
    const members = [
      { name: "k/1.txt", bytes: "old" },
      { name: "k/1.json", bytes: '{"id":5}' },
      { name: "k/1.png", bytes: png },
      { name: "k/1.cls", bytes: "3" },
    ];
    writeFileSync(tar, await tarBytes(members));
    await succeeds("vqa", tar, "-q", "what?", "-q", "where?", "-o", join(folder, "answered.tar"));
    const written = await contentOf(join(folder, "answered-000000.tar"));
    assert.deepEqual(
      Array.from(written.keys()).sort(),
      ["cls", "input.txt", "json", "png", "txt"].map((end) => `k/1.${end}`),
    );
    assert.equal(written.get("k/1.input.txt"), "old");
    const answers = JSON.parse(written.get("k/1.json") ?? "");
    assert.deepEqual(
      answers.map(({ question, input }: { question: string; input: unknown }) => [question, input]),
      [
        ["what?", { id: 5 }],
        ["where?", { id: 5 }],
      ],
    );
  });
});

it("marks answers that were replaced for review, in JSON and CSV", () => {
  const timings = { media: 1, encoder: 1, adapter: 1, decoder: 1 };
  const usage = { promptTokens: 1, newTokens: 1 };
  const common = { model: "m", adapter: "a", modality: "image", texts: [], usage, timings, confidence: 0.25 } as const;
  const medium = { file: "a.png", source: { kind: "path", path: "a.png" }, questions: [undefined] } as const;
  const resultOf = (abstained: true | undefined) => ({
    question: undefined,
    reply: { texts: [{ text: "?", score: -1 }], whole: { ...common, text: "?", ...(abstained ? { abstained } : {}) } },
  });
  const [sure, unsure] = [resultOf(undefined), resultOf(true)];
  assert.deepEqual(
    [sure, unsure].map((result) => answerObject(medium, result).review),
    [undefined, true],
  );
  const rows = parse(new CsvRecords(",").format(medium, [sure, unsure], true), { columns: true }) as Row[];
  assert.deepEqual(
    rows.map(({ review, confidence }) => [review, confidence]),
    [
      ["", "0.25"],
      ["true", "0.25"],
    ],
  );
});
