import assert from "node:assert/strict";
import { EpalmError } from "../../src/core/errors.js";
import type { Checkpoint } from "../../src/formats/checkpoint.js";
import type { TensorSource } from "../../src/tensor/tensor.js";

/** Asserts that names, types, shapes and all elements are equal; the order of the names does not matter. */
export function assertSameTensors(actual: Checkpoint, expected: Checkpoint): void {
  assert.deepEqual([...actual.tensors.keys()].sort(), [...expected.tensors.keys()].sort());
  for (const [name, source] of expected.tensors) {
    assert.deepEqual(values(actual.tensors.get(name)), values(source), name);
  }
}

/** Type, shape and elements of a tensor. */
export function values(source: TensorSource | undefined) {
  return source && { type: source.type, shape: source.shape, data: source.read() };
}

/** Matches an EpalmError whose message is one line, begins with the path and matches the pattern. */
export function refusal(path: string, cause: RegExp, code = "invalid_checkpoint") {
  return (error: unknown) => {
    assert.ok(error instanceof EpalmError, String(error));
    assert.equal(error.code, code);
    assert.ok(error.message.startsWith(path), error.message);
    assert.match(error.message, cause);
    assert.doesNotMatch(error.message, /[\n\r]/);
    return true;
  };
}
