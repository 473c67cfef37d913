import assert from "node:assert/strict";
import { test } from "node:test";
import { randomStreams } from "../../../src/core/random.js";
import { nearDuplicates } from "../../../src/training/calibration/near-duplicates.js";

test("near-duplicates of training media are found among the validation media", () => {
  const [random = Math.random] = randomStreams(1, 1);
  const state = () => Float32Array.from({ length: 3 * 16 }, () => random() - 0.5);
  const training = Array.from({ length: 50 }, state);
  const validation = Array.from({ length: 10 }, state);
  const [third = new Float32Array()] = training.slice(3);
  validation[7] = third.map((value) => value + 0.002 * (random() - 0.5));
  assert.deepEqual(nearDuplicates({ depth: 3, training, validation }), [{ validation: 7, training: 3 }]);
});
