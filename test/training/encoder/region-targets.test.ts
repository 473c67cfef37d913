import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { LabelledImage, Region } from "../../../src/training/data/labelled-images.js";
import { countRightPatches, regionLabels, regionTargets } from "../../../src/training/encoder/region-targets.js";

function image(...regions: Region[]): LabelledImage {
  return { path: "x", labels: {}, regions };
}

const left: Region = { label: "pear", box: [0, 0, 0.5, 1] };
const middle: Region = { label: "apple", box: [0.3, 0.3, 0.7, 0.7] };

describe("regionLabels", () => {
  it("sorts the labels after that of patches outside all regions", () => {
    assert.deepEqual(regionLabels([image(left), image(middle), image(left)]), ["", "apple", "pear"]);
  });

  it("is empty if no image has regions", () => {
    assert.deepEqual(regionLabels([{ path: "x", labels: { a: "b" } }]), []);
  });
});

describe("regionTargets", () => {
  const labels = ["", "apple", "pear"];

  it("labels a patch with the last region that contains its centre", () => {
    const targets = regionTargets([image(left, middle)], labels, 4);
    assert.deepEqual(Array.from(targets.labels.data as BigInt64Array, Number), [
      ...[2, 2, 0, 0],
      ...[2, 1, 1, 0],
      ...[2, 1, 1, 0],
      ...[2, 2, 0, 0],
    ]);
  });

  it("gives regions the weight of as many attributes, the outside a tenth, and unknown patches none", () => {
    const { weights } = regionTargets([image(left), { path: "x", labels: {} }], labels, 2);
    const [inside, outside] = [1 / 2 / 2, 0.1 / 2].map(Math.fround);
    assert.deepEqual(Array.from(weights.data as Float32Array), [inside, outside, inside, outside, 0, 0, 0, 0]);
  });

  it("counts patches inside regions, without unknown labels", () => {
    const targets = regionTargets([image(left, { label: "new", box: [0.5, 0, 1, 1] })], labels, 2);
    const logits = Float32Array.from([...[0, 0, 1], ...[1, 0, 0], ...[0, 1, 0], ...[1, 0, 0]]);
    assert.deepEqual(countRightPatches(logits, targets, labels), { right: 1, all: 2 });
  });
});
