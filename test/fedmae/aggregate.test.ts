import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { average, checkUpdate } from "../../src/fedmae/aggregate.js";
import type { ClientUpdate } from "../../src/fedmae/client.js";
import type { Tensor } from "../../src/tensor/tensor.js";

function vector(...values: number[]): Tensor {
  return { type: "float32", shape: [values.length], data: Float32Array.from(values) };
}

function numbers(tensor: Tensor | undefined): number[] {
  return Array.from(tensor?.data ?? [], Number);
}

describe("average", () => {
  it("weights each client by its number of images", () => {
    const mean = average([
      { examples: 1, weights: new Map([["w", vector(0, 4)]]) },
      { examples: 3, weights: new Map([["w", vector(8, -4)]]) },
    ]);
    assert.deepEqual(numbers(mean.get("w")), [6, -2]);
    assert.deepEqual(mean.get("w")?.shape, [2]);
  });

  it("averages a tensor over the clients that have it", () => {
    const mean = average([
      {
        examples: 5,
        weights: new Map([
          ["shared", vector(0)],
          ["blocks.0", vector(1)],
        ]),
      },
      {
        examples: 3,
        weights: new Map([
          ["shared", vector(4)],
          ["blocks.1", vector(2)],
        ]),
      },
      {
        examples: 2,
        weights: new Map([
          ["shared", vector(4)],
          ["blocks.1", vector(7)],
        ]),
      },
    ]);
    const found = Object.fromEntries(Array.from(mean, ([name, tensor]) => [name, numbers(tensor)]));
    assert.deepEqual(found, { shared: [2], "blocks.0": [1], "blocks.1": [4] });
  });

  it("returns no tensors without contributions", () => assert.equal(average([]).size, 0));

  it("does not change its inputs, and lies between the clients", () => {
    const value = fc.float({ noNaN: true, min: -1000, max: 1000 });
    const clients = fc.array(fc.tuple(fc.integer({ min: 1, max: 10_000 }), fc.tuple(value, value)), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(clients, (given) => {
        const contributions = given.map(([examples, values]) => ({
          examples,
          weights: new Map([["w", vector(...values)]]),
        }));
        const found = numbers(average(contributions).get("w"));
        contributions.forEach(({ weights }, client) => {
          assert.deepEqual(weights.get("w"), vector(...(given[client]?.[1] ?? [])));
        });
        found.forEach((mean, at) => {
          const all = given.map(([, values]) => values[at] ?? Number.NaN);
          assert.ok(mean >= Math.min(...all) - 1e-3 && mean <= Math.max(...all) + 1e-3);
        });
      }),
    );
  });
});

describe("checkUpdate", () => {
  const expected = new Map([
    ["norm.weight", vector(1, 1)],
    ["norm.bias", vector(0, 0)],
  ]);
  const good: ClientUpdate = {
    weights: new Map([
      ["norm.weight", vector(0.5, 2)],
      ["norm.bias", vector(-1, 3)],
    ]),
    examples: 12,
    loss: 0.8,
    meanPatchLoss: 1,
    milliseconds: 7,
  };
  const withBias = (tensor: Tensor) => ({ ...good, weights: new Map(good.weights).set("norm.bias", tensor) });

  it("accepts an update with the requested tensors", () => {
    assert.doesNotThrow(() => checkUpdate(good, expected));
  });

  const refused: readonly (readonly [what: string, update: ClientUpdate, message: RegExp])[] = [
    [
      "lacks a tensor",
      { ...good, weights: new Map([["norm.weight", vector(1, 2)]]) },
      /^norm\.bias: missing from the update$/,
    ],
    [
      "has a tensor that was not requested",
      { ...good, weights: new Map(good.weights).set("head.bias", vector(1)) },
      /^head\.bias: not one of the requested tensors$/,
    ],
    ["has a tensor of another shape", withBias(vector(1, 2, 3)), /^norm\.bias: expected \[2\], got \[3\]$/],
    [
      "has a tensor of another rank",
      withBias({ ...vector(1, 2), shape: [1, 2] }),
      /^norm\.bias: expected \[2\], got \[1, ?2\]$/,
    ],
    ["has fewer numbers than its shape requires", withBias({ ...vector(1), shape: [2] }), /^norm\.bias: /],
    ["contains NaN", withBias(vector(0, Number.NaN)), /^norm\.bias: contains NaN or Infinity$/],
    ["contains Infinity", withBias(vector(Number.POSITIVE_INFINITY, 0)), /^norm\.bias: /],
    ["contains -Infinity", withBias(vector(0, Number.NEGATIVE_INFINITY)), /^norm\.bias: /],
    ["contains integers", withBias({ type: "int64", shape: [2], data: BigInt64Array.of(1n, 2n) }), /^norm\.bias: /],
    ["has a loss of NaN", { ...good, loss: Number.NaN }, /^loss: expected a finite number, got NaN$/],
    ...[0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY].map(
      (examples) =>
        [`was trained on ${examples} images`, { ...good, examples }, /^images: expected at least 1, got /] as const,
    ),
  ];
  for (const [what, update, message] of refused) {
    it(`rejects an update that ${what}`, () => {
      assert.throws(() => checkUpdate(update, expected), { code: "invalid_checkpoint", message });
    });
  }
});
