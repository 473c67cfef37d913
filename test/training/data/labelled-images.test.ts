import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, it } from "node:test";
import { readLabelledImages } from "../../../src/training/data/labelled-images.js";
import { classesOf, trainingClasses } from "../../../src/training/encoder/attributes.js";
import { temporaryFolder } from "../../support/tiny-clients.js";

const folder = temporaryFolder();
for (const path of ["set/red/a.png", "set/red/deep/b.jpg", "set/blue/c.png", "set/blue/notes.txt"]) {
  mkdirSync(join(folder, path, ".."), { recursive: true });
  writeFileSync(join(folder, path), "");
}

describe("labelled images", () => {
  const expected = [
    ["set/blue/c.png", "blue"],
    ["set/red/a.png", "red"],
    ["set/red/deep/b.jpg", "red"],
  ];
  const spellings: Readonly<Record<string, string>> = {
    "an absolute path": join(folder, "set"),
    "a trailing slash": `${join(folder, "set")}/`,
    "a doubled slash": `${folder}//set`,
    "a detour": `${folder}/set/../set`,
    "a path from here": relative(process.cwd(), join(folder, "set")),
    "a path from here, with a dot": `./${relative(process.cwd(), join(folder, "set"))}`,
  };
  for (const [what, path] of Object.entries(spellings)) {
    it(`are labelled with the name of their subfolder, however the folder is spelt: ${what}`, async () => {
      const images = await readLabelledImages([path]);
      assert.deepEqual(
        images.map((image) => [relative(folder, image.path), image.labels.label]),
        expected,
      );
    });
  }

  it("have several attributes in JSON lines, and paths relative to their file", async () => {
    const file = join(folder, "lines.jsonl");
    const lines = [
      { image: "set/red/a.png", labels: { object: "apple", "back ground": "red" } },
      {
        image: "set/blue/c.png",
        labels: { object: "pear" },
        regions: [{ label: "pear", box: [0, 0, 0.5, 1] }],
      },
    ];
    writeFileSync(file, `${lines.map((line) => JSON.stringify(line)).join("\n\n")}\n`);
    const images = await readLabelledImages([file, join(folder, "set")]);
    assert.equal(images.length, 5);
    assert.equal(images[0]?.path, join(folder, "set/red/a.png"));
    assert.deepEqual(
      images.map(({ regions }) => regions),
      [undefined, [{ label: "pear", box: [0, 0, 0.5, 1] }], undefined, undefined, undefined],
    );
    assert.deepEqual(Object.fromEntries(classesOf(images)), {
      object: ["apple", "pear"],
      "back ground": ["red"],
      label: ["blue", "red"],
    });
  });

  const bad: readonly (readonly [what: string, text: string, message: RegExp])[] = [
    ["a line that is not JSON", '{"image": "a.png", "labels": {}}\n{', /bad\.jsonl:2: is not JSON/],
    ["no labels", '{"image": "a.png"}', /bad\.jsonl:1: /],
    ["a key that is unknown", '{"image": "a.png", "labels": {}, "label": "x"}', /bad\.jsonl:1: .*label/],
    ["a label that is not a string", '{"image": "a.png", "labels": {"a": 1}}', /bad\.jsonl:1: /],
    [
      "a region outside the image",
      '{"image": "a.png", "labels": {}, "regions": [{"label": "x", "box": [0, 0, 1, 2]}]}',
      /bad\.jsonl:1: /,
    ],
    [
      "an empty region",
      '{"image": "a.png", "labels": {}, "regions": [{"label": "x", "box": [0.5, 0, 0.5, 1]}]}',
      /bad\.jsonl:1: 'regions\[0\]\.box': expected/,
    ],
    ["an attribute that could be a path", '{"image": "a.png", "labels": {"a/../b": "x"}}', /bad\.jsonl:1: /],
  ];
  for (const [what, text, message] of bad) {
    it(`are rejected by file and line: ${what}`, async () => {
      const file = join(folder, "bad.jsonl");
      writeFileSync(file, text);
      await assert.rejects(readLabelledImages([file]), { code: "invalid_data", message });
    });
  }

  it("are rejected if there are none, or none with a label", async () => {
    await assert.rejects(readLabelledImages([join(folder, "none")]), { code: "not_found" });
    await assert.rejects(readLabelledImages([join(folder, "set/blue")]), {
      code: "invalid_data",
      message: /c\.png: expected images in subfolders/,
    });
  });
});

describe("trainingClasses", () => {
  const image = (labels: Record<string, string>) => ({ path: "x", labels });
  const [red, blue] = [image({ colour: "red" }), image({ colour: "blue" })];

  it("returns the labels of the training images, whatever labels a test adds", () => {
    const classes = trainingClasses([red, blue], [image({ colour: "green" })]);
    assert.deepEqual(Object.fromEntries(classes), { colour: ["blue", "red"] });
  });

  it("rejects attributes with a single label, and attributes that only the test has", () => {
    assert.throws(() => trainingClasses([], [red]), {
      code: "invalid_data",
      message: /expected at least one label, got none/,
    });
    assert.throws(() => trainingClasses([red, red], [red]), {
      code: "invalid_data",
      message: /at least two labels of 'colour', got 1/,
    });
    assert.throws(() => trainingClasses([red, blue], [image({ shape: "round" })]), {
      code: "invalid_data",
      message: /^test examples: 'shape'/,
    });
  });
});
