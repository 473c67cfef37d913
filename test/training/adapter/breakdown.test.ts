import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { breakdown } from "../../../src/training/adapter/breakdown.js";
import { type Prediction, score } from "../../../src/training/adapter/evaluate.js";
import { meanInterval } from "../../../src/training/metrics/mean-interval.js";

const common = { id: "data.jsonl:1", media: "a.png", modality: "image" } as const;

function answered(prediction: string, references: readonly string[], group?: string): Prediction {
  return { kind: "vqa", ...common, question: "what is it", references, prediction, ...(group ? { group } : {}) };
}

describe("a confidence interval", () => {
  it("agrees with that of the normal distribution for many examples, and is the same every time", () => {
    const values = Array.from({ length: 2000 }, (_, index) => (index % 4 === 0 ? 1 : 0));
    const { mean, low, high, examples } = meanInterval(values);
    assert.equal(examples, 2000);
    assert.equal(mean, 0.25);
    const half = 1.96 * Math.sqrt((0.25 * 0.75) / 2000);
    assert.ok(Math.abs(mean - low - half) < 0.1 * half, `${mean - low}, expected ${half}`);
    assert.ok(Math.abs(high - mean - half) < 0.1 * half, `${high - mean}, expected ${half}`);
    assert.deepEqual(meanInterval(values), { mean, low, high, examples });
  });

  it("contains only the mean if all examples are equal", () => {
    assert.deepEqual(meanInterval([0.5]), { examples: 1, mean: 0.5, low: 0.5, high: 0.5 });
  });
});

describe("a breakdown", () => {
  const predictions = [
    answered("Red", ["red", "red", "crimson"], "colour"),
    answered("red", ["blue"], "colour"),
    answered("red.", ["blue", "blue", "green"], "colour"),
    answered("2", ["two"], "count"),
    answered("three", ["two", "2"], "count"),
    answered("a dog", ["dog"]),
  ];

  it("has the mean scores of the evaluation, and those of each group", () => {
    const { overall, groups } = breakdown(predictions);
    assert.equal(overall["VQA accuracy"]?.mean, score(predictions).answers?.accuracy);
    assert.deepEqual(
      groups.map(({ group, scores }) => [group, scores["VQA accuracy"]?.examples]),
      [
        ["colour", 3],
        ["count", 2],
      ],
    );
  });

  it("lists wrong answers with the most common reference, and how often answers were expected and given", () => {
    const { confusions, answers } = breakdown(predictions);
    assert.deepEqual(confusions, [
      { expected: "blue", answered: "red", count: 2 },
      { expected: "2", answered: "3", count: 1 },
    ]);
    assert.deepEqual(answers[0], { answer: "red", expected: 1, answered: 3 });
    assert.deepEqual(
      answers.find(({ answer }) => answer === "blue"),
      { answer: "blue", expected: 2, answered: 0 },
    );
  });

  it("scores captions by CIDEr, with references of the whole data set", () => {
    const captions: Prediction[] = ["a red car", "a blue boat", "a dog"].map((reference, index) => ({
      kind: "caption",
      ...common,
      references: [reference],
      prediction: index === 2 ? "a cat" : reference,
      group: index === 2 ? "animals" : "vehicles",
    }));
    const { overall, groups, confusions } = breakdown(captions);
    assert.ok(Math.abs((overall.CIDEr?.mean ?? 0) - (score(captions).captions?.cider ?? 0)) < 1e-12);
    assert.ok((groups[0]?.scores.CIDEr?.mean ?? 1) < (groups[1]?.scores.CIDEr?.mean ?? 0));
    assert.deepEqual(confusions, []);
  });

  it("is empty without examples", () => {
    assert.deepEqual(breakdown([]), { overall: {}, groups: [], confusions: [], answers: [] });
  });
});
