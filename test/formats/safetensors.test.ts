import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { EpalmError } from "../../src/core/errors.js";
import { openSafetensors, writeSafetensors } from "../../src/formats/safetensors.js";
import {
  constantSource,
  type ElementType,
  elementCount,
  elementSize,
  type TensorSource,
  typedArray,
} from "../../src/tensor/tensor.js";
import { assertSameTensors, refusal, values } from "../support/same-tensors.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();

function fileOf(header: unknown, data = Buffer.alloc(0), claimedLength?: number): string {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(claimedLength ?? json.length));
  const path = join(folder, "case.safetensors");
  writeFileSync(path, Buffer.concat([length, json, data]));
  return path;
}

const types = Object.keys(elementSize) as ElementType[];

const anyTensor = fc
  .record({
    type: fc.constantFrom(...types),
    shape: fc.array(fc.nat(4), { maxLength: 4 }),
    fill: fc.nat(255),
  })
  .map(({ type, shape, fill }): TensorSource => {
    const bytes = new Uint8Array(elementCount(shape) * elementSize[type]).fill(fill);
    return constantSource(type, shape, typedArray(type, bytes));
  });

describe("safetensors", () => {
  it("round-trips any tensors and metadata", () => {
    const path = join(folder, "round-trip.safetensors");
    const names = fc.string({ unit: "grapheme", maxLength: 12 }).filter((name) => name !== "__metadata__");
    const files = fc.tuple(fc.dictionary(names, anyTensor), fc.dictionary(fc.string(), fc.string()));
    fc.assert(
      fc.property(files, ([tensors, metadata]) => {
        writeSafetensors(path, Object.entries(tensors), metadata);
        const checkpoint = openSafetensors(path);
        assert.deepEqual({ ...checkpoint.metadata }, { ...metadata });
        assert.deepEqual(new Set(checkpoint.tensors.keys()), new Set(Object.keys(tensors)));
        for (const [name, source] of Object.entries(tensors)) {
          assert.deepEqual(values(checkpoint.tensors.get(name)), values(source));
        }
        checkpoint.close();
      }),
      { numRuns: 100, seed: 1 },
    );
  });

  it("copies a published file tensor by tensor", () => {
    const original = openSafetensors("test/fixtures/goldens/opt-6states-mlp10/adapter.safetensors");
    const path = join(folder, "copy.safetensors");
    writeSafetensors(path, original.tensors, original.metadata);
    const copy = openSafetensors(path);
    assertSameTensors(copy, original);
    original.close();
    copy.close();
  });

  it("reads every element type from a file that Python wrote", () => {
    const checkpoint = openSafetensors("test/fixtures/checkpoints/element-types.safetensors");
    assert.deepEqual([...checkpoint.tensors.values()].map(({ type }) => type).sort(), [
      ...[...types, "float32", "float32"].sort(),
    ]);
    assert.deepEqual(values(checkpoint.tensors.get("int64"))?.data, new BigInt64Array([1n, -(2n ** 62n)]));
    checkpoint.close();
  });

  it("leaves neither a new file nor a temporary one when a tensor cannot be read", () => {
    const empty = temporaryFolder();
    const failing: TensorSource = {
      type: "float32",
      shape: [2],
      read: () => {
        throw new EpalmError("invalid_checkpoint", "gone");
      },
    };
    const short = constantSource("float32", [3], new Float32Array(2));
    for (const source of [failing, short]) {
      assert.throws(() => writeSafetensors(join(empty, "x.safetensors"), [["w", source]]), EpalmError);
    }
    assert.deepEqual(readdirSync(empty), []);
  });

  it("rejects duplicate names and a folder that does not exist when writing", () => {
    const one = constantSource("uint8", [1], new Uint8Array(1));
    const twice = [["w", one] as const, ["w", one] as const];
    assert.throws(() => writeSafetensors(join(folder, "x.safetensors"), twice), /another tensor named w/);
    const nowhere = join(folder, "nowhere", "x.safetensors");
    assert.throws(() => writeSafetensors(nowhere, [["w", one]]), refusal(nowhere, /cannot be written/, "internal"));
  });

  it("does not read after close", () => {
    const checkpoint = openSafetensors("test/fixtures/checkpoints/training.safetensors");
    const [source] = checkpoint.tensors.values();
    checkpoint.close();
    checkpoint.close();
    assert.throws(() => source?.read(), EpalmError);
  });

  it("does not modify a prototype for a tensor named __proto__", () => {
    const path = fileOf('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', Buffer.from([7]));
    const checkpoint = openSafetensors(path);
    assert.deepEqual(values(checkpoint.tensors.get("__proto__"))?.data, new Uint8Array([7]));
    checkpoint.close();
  });

  it("names a file that does not exist", () => {
    assert.throws(() => openSafetensors("/nowhere/x.safetensors"), refusal("/nowhere/x", /no such file/, "not_found"));
    assert.throws(() => openSafetensors(folder), refusal(folder, /not a regular file/));
  });

  const tensor = (offsets: unknown, shape: unknown = [2], dtype: unknown = "F32") => ({
    dtype,
    shape,
    data_offsets: offsets,
  });
  const data = Buffer.alloc(16);
  const damages: [string, () => string, RegExp][] = [
    ["an empty file", () => fileOf("", Buffer.alloc(0)), /not JSON/],
    ["a header longer than allowed", () => fileOf({}, data, 2 ** 40), /claims 1099511627776 bytes/],
    ["a header longer than the file", () => fileOf({}, data, 1000), /cut short/],
    ["a header that is not JSON", () => fileOf("{'a'}"), /not JSON/],
    ["a header that is not UTF-8", () => fileOf({}, data, 6), /not JSON/],
    ["a header that is not an object", () => fileOf([]), /not a JSON object/],
    ["metadata of numbers", () => fileOf({ __metadata__: { a: 1 } }), /__metadata__/],
    ["an unknown dtype", () => fileOf({ w: tensor([0, 8], [2], "F8_E5M2") }, data), /tensor w: dtype F8_E5M2/],
    ["a shape that does not fit its bytes", () => fileOf({ w: tensor([0, 16]) }, data), /tensor w: shape \[2\]/],
    ["a negative dimension", () => fileOf({ w: tensor([0, 8], [-2]) }, data), /tensor w: 'shape/],
    ["a dimension that is not an integer", () => fileOf({ w: tensor([0, 8], ["2"]) }, data), /tensor w: 'shape/],
    ["a shape of endless rank", () => fileOf({ w: tensor([0, 8], new Array(99).fill(1)) }, data), /tensor w: 'shape/],
    ["unknown keys", () => fileOf({ w: { ...tensor([0, 8]), strides: [1] } }, data), /tensor w/],
    ["offsets that run backwards", () => fileOf({ w: tensor([8, 0]) }, data), /tensor w/],
    ["tensors that overlap", () => fileOf({ v: tensor([0, 8]), w: tensor([4, 12]) }, data), /tensor w overlaps/],
    [
      "two tensors at the same offsets",
      () => fileOf({ v: tensor([0, 8]), w: tensor([0, 8]) }, data),
      /tensor w overlaps/,
    ],
    ["a gap", () => fileOf({ v: tensor([0, 8]), w: tensor([9, 17]) }, data), /1 bytes before tensor w/],
    ["data that ends early", () => fileOf({ w: tensor([0, 32], [8]) }, data), /cut short/],
    ["data after the last tensor", () => fileOf({ w: tensor([0, 8]) }, data), /8 bytes after the last tensor/],
  ];
  for (const [what, make, cause] of damages) {
    it(`rejects ${what}`, () => {
      const path = make();
      assert.throws(() => openSafetensors(path), refusal(path, cause));
    });
  }

  it("reports a hostile name on one printable line of bounded length", () => {
    const name = `a\n\u001b[31m${"x".repeat(10_000)}`;
    const path = fileOf({ [name]: tensor([0, 8], [2], "??") }, data);
    assert.throws(
      () => openSafetensors(path),
      (error: EpalmError) =>
        refusal(path, /tensor a/)(error) && error.message.length < 1000 && !/\p{Cc}/u.test(error.message),
    );
  });
});
