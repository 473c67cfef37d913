import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { float16Source, float32Source, roundTo, toFloat16, toFloat32 } from "../../src/tensor/float-conversion.js";
import { bytesOf, constantSource } from "../../src/tensor/tensor.js";

/** Values that torch assigns to 16-bit floats; written by test/fixtures/tensor/make_float_fixture.py. */
const torch = JSON.parse(readFileSync("test/fixtures/tensor/float-conversion.json", "utf8")) as Record<
  "float16" | "bfloat16",
  { special: [bits: number, number: string][]; sha256: string }
>;

describe("16-bit floats as float32", () => {
  for (const type of ["float16", "bfloat16"] as const) {
    it(`have torch's values for zeros, subnormals, limits, infinities and NaN: ${type}`, () => {
      const { special } = torch[type];
      const numbers = toFloat32(
        type,
        Uint16Array.from(special, ([bits]) => bits),
      );
      special.forEach(([bits, expected], i) => {
        assert.ok(Object.is(numbers[i], Number(expected)), `${bits.toString(16)}: ${numbers[i]}, not ${expected}`);
      });
    });

    it(`have torch's values for every bit pattern: ${type}`, () => {
      const numbers = toFloat32(
        type,
        Uint16Array.from({ length: 1 << 16 }, (_, bits) => bits),
      );
      const patterns = new Uint32Array(numbers.buffer);
      numbers.forEach((number, i) => {
        if (Number.isNaN(number)) patterns[i] = 0x7fc00000;
      });
      assert.equal(createHash("sha256").update(bytesOf(numbers)).digest("hex"), torch[type].sha256);
    });
  }
});

describe("other elements as float32", () => {
  it("are rounded from float64 and unchanged from float32", () => {
    assert.deepEqual(toFloat32("float64", Float64Array.of(0.1, 1e300)), Float32Array.of(0.1, Infinity));
    const floats = Float32Array.of(1, 2);
    assert.equal(toFloat32("float32", floats), floats);
  });

  it("are rejected if they are integers", () => {
    const message = /expected a tensor of floats, got int32/;
    assert.throws(() => toFloat32("int32", Int32Array.of(1)), { code: "invalid_checkpoint", message });
  });

  it("are converted only when a source is read", () => {
    const source = constantSource("bfloat16", [2], Uint16Array.of(0x3f80, 0xc000));
    const converted = float32Source(source);
    assert.deepEqual({ type: converted.type, shape: converted.shape }, { type: "float32", shape: [2] });
    assert.deepEqual(converted.read(), Float32Array.of(1, -2));
    const floats = constantSource("float32", [0], new Float32Array());
    assert.equal(float32Source(floats), floats);
  });
});

describe("float32 numbers as float16", () => {
  const back = (numbers: Float32Array) => toFloat32("float16", toFloat16(numbers));

  it("keep every value that float16 has, with its sign", () => {
    const patterns = Uint16Array.from({ length: 1 << 16 }, (_, bits) => bits);
    const isNumber = (bits: number) => (bits & 0x7c00) !== 0x7c00 || (bits & 0x3ff) === 0;
    const expected = Array.from(patterns).filter(isNumber);
    assert.deepEqual(Array.from(toFloat16(toFloat32("float16", Uint16Array.from(expected)))), expected);
    assert.ok(Number.isNaN(back(Float32Array.of(Number.NaN))[0]));
  });

  it("are rounded to the nearest, halves to even, at every size", () => {
    const numbers = Float32Array.from({ length: 40_000 }, (_, i) => Math.sin(i) * 2 ** ((i % 45) - 28));
    const ties = Float32Array.from({ length: 4096 }, (_, i) => (i + 0.5) * 2 ** ((i % 20) - 24));
    for (const values of [numbers, ties]) {
      const found = back(values);
      values.forEach((value, i) => {
        const nearest = roundTo("float16", value);
        const expected = Math.abs(nearest) > 65504 ? Math.sign(value) * Number.POSITIVE_INFINITY : nearest;
        assert.ok(found[i] === expected, `${value}: ${found[i]}, not ${expected}`);
      });
    }
  });

  it("become infinite from 65520", () => {
    const infinity = Number.POSITIVE_INFINITY;
    assert.deepEqual(Array.from(back(Float32Array.of(65519.99, 65520, -1e30))), [65504, infinity, -infinity]);
  });

  it("are read from a source of another type", () => {
    const source = float16Source(constantSource("bfloat16", [2], Uint16Array.of(0x3f80, 0xc000)));
    assert.deepEqual([source.type, Array.from(source.read(), Number)], ["float16", [0x3c00, 0xc000]]);
  });
});
