import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { LabelledImage, Region } from "../../../src/training/data/labelled-images.js";
import { countRightPatches, regionLabels, regionTargets } from "../../../src/training/encoder/region-targets.js";

function image(...regions: Region[]): LabelledImage {
  return { path: "x", labels: {}, regions };
}

const left: Region = { label: "pear", box: [0, 0, 0.5, 1] };
const middle: Region = { label: "apple", box: [0.3, 0.3, 0.7, 0.7] };

describe("the labels of regions", () => {
  it("are sorted, behind that of what is in none", () => {
    assert.deepEqual(regionLabels([image(left), image(middle), image(left)]), ["", "apple", "pear"]);
  });

  it("are none where no picture has regions", () => {
    assert.deepEqual(regionLabels([{ path: "x", labels: { a: "b" } }]), []);
  });
});

describe("what patches show", () => {
  const labels = ["", "apple", "pear"];

  it("is the last region that their middle is in", () => {
    const targets = regionTargets([image(left, middle)], labels, 4);
    assert.deepEqual(Array.from(targets.labels.data as BigInt64Array, Number), [
      ...[2, 2, 0, 0],
      ...[2, 1, 1, 0],
      ...[2, 1, 1, 0],
      ...[2, 2, 0, 0],
    ]);
  });

  it("weighs as many aspects as a picture has regions, a tenth outside, and nothing where nothing is known", () => {
    const { weights } = regionTargets([image(left), { path: "x", labels: {} }], labels, 2);
    const [inside, outside] = [1 / 2 / 2, 0.1 / 2].map(Math.fround);
    assert.deepEqual(Array.from(weights.data as Float32Array), [inside, outside, inside, outside, 0, 0, 0, 0]);
  });

  it("is counted where there are regions, and a label that was never taught is not", () => {
    const targets = regionTargets([image(left, { label: "new", box: [0.5, 0, 1, 1] })], labels, 2);
    const logits = Float32Array.from([...[0, 0, 1], ...[1, 0, 0], ...[0, 1, 0], ...[1, 0, 0]]);
    assert.deepEqual(countRightPatches(logits, targets, labels), { right: 1, all: 2 });
  });
});
