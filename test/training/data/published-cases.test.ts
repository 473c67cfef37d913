import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { readQuestions } from "../../../src/cli/options/media-questions.js";
import { readDataSet } from "../../../src/training/data/read-data-set.js";
import { vqaAccuracy } from "../../../src/training/metrics/vqa-accuracy.js";
import { temporaryFolder } from "../../support/temporary-folder.js";

const folder = temporaryFolder();
const vqa = "test/fixtures/data-sets/vqa-v2";
const files = { path: join(vqa, "vqa-questions.json"), annotations: join(vqa, "vqa-annotations-blank.json") };

describe("annotations of VQA v2 with blank answers among the ten", () => {
  it("give one example with ten answers and no rejected one, and blank answers match nothing", async () => {
    const { examples, skipped } = await readDataSet(files);
    assert.deepEqual(skipped, []);
    const [example] = examples;
    assert.ok(examples.length === 1 && example?.kind === "vqa");
    assert.deepEqual(example.answers, [...Array<string>(8).fill("b"), "", ""]);
    assert.deepEqual([vqaAccuracy("b", example.answers), vqaAccuracy("", example.answers)], [1, 0]);
  });
});

describe("a file of questions for epalm vqa", () => {
  it("may have further keys, such as those of a data set", async () => {
    const path = join(folder, "questions.jsonl");
    const line = {
      id: 7,
      image: "a.png",
      question: "which letter?",
      answer: ["b", ""],
      answer_type: "other",
      split: null,
    };
    writeFileSync(path, `${JSON.stringify(line)}\n`);
    const { value } = await readQuestions(path).next();
    const source = { kind: "path", path: join(folder, "a.png") };
    assert.deepEqual(value, { modality: "image", file: "a.png", source, question: "which letter?" });
  });

  it("is rejected without a question or a medium", async () => {
    for (const line of [
      { image: "a.png", qestion: "which?" },
      { imge: "a.png", question: "which?" },
    ]) {
      const path = join(folder, "wrong.jsonl");
      writeFileSync(path, JSON.stringify(line));
      await assert.rejects(readQuestions(path).next(), { code: "invalid_data", message: /wrong\.jsonl:1: / });
    }
  });
});
