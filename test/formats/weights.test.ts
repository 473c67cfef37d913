import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Checkpoint } from "../../src/formats/checkpoint.js";
import { Weights } from "../../src/formats/weights.js";
import { constantSource, type TensorSource } from "../../src/tensor/tensor.js";
import { refusal } from "../support/same-tensors.js";

const halves = constantSource("float16", [2], new Uint16Array([0x3c00, 0xc000]));
const floats = constantSource("float32", [1, 2], new Float32Array([1, 2]));
const ids = constantSource("int64", [1], new BigInt64Array(1));

function checkpointOf(tensors: Readonly<Record<string, TensorSource>>): Checkpoint {
  return { path: "some.pth", tensors: new Map(Object.entries(tensors)), metadata: {}, close: () => {} };
}

describe("Weights", () => {
  it("returns tensors as float32 and accepts that all were taken", () => {
    const weights = new Weights(checkpointOf({ a: halves, b: floats }));
    assert.deepEqual(weights.take("a", [2]).read(), new Float32Array([1, -2]));
    assert.deepEqual(weights.takeIfPresent("b", [1, 2])?.read(), new Float32Array([1, 2]));
    assert.equal(weights.takeIfPresent("c", [1]), undefined);
    weights.finish();
  });

  it("removes a prefix, renames tensors and ignores some", () => {
    const rename = (name: string) => (name === "ids" ? undefined : name.replace("gamma", "weight"));
    const weights = new Weights(checkpointOf({ "model.gamma": floats, head: halves, "model.ids": ids }), {
      prefix: "model.",
      rename,
    });
    assert.deepEqual([...weights.names()], ["weight", "head"]);
    assert.ok(weights.has("weight"));
    assert.deepEqual(weights.shapeOf("head"), [2]);
    assert.equal(weights.shapeOf("model.gamma"), undefined);
  });

  it("names tensors that are missing, have another shape or are not floats", () => {
    const weights = new Weights(checkpointOf({ "model.a": floats, "model.ids": ids }), { prefix: "model." });
    assert.throws(() => weights.take("b", [1]), refusal("some.pth", /: tensor b is missing$/));
    assert.throws(
      () => weights.takeIfPresent("a", [2, 2]),
      refusal("some.pth", /: tensor model\.a: expected shape \[2, 2\], got \[1, 2\]$/),
    );
    assert.throws(() => weights.take("ids", [1]), refusal("some.pth", /tensor model\.ids: expected floats, got int64/));
  });

  it("names unexpected tensors, and counts them if there are many", () => {
    const many = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`m.t${i}`, floats]));
    const weights = new Weights(checkpointOf(many), { prefix: "m." });
    weights.take("t0", [1, 2]);
    const surplus = /unexpected tensors m\.t1, m\.t2, m\.t3, m\.t4, m\.t5 and 3 more$/;
    assert.throws(() => weights.finish(), refusal("some.pth", surplus, "unsupported_architecture"));
  });

  it("rejects two tensors that are renamed to the same name", () => {
    const clash = checkpointOf({ "model.a": floats, a: floats });
    assert.throws(
      () => new Weights(clash, { prefix: "model." }),
      refusal("some.pth", /model\.a and a are both renamed to a/),
    );
  });
});
