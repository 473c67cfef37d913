import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Tensor } from "../../../src/tensor/tensor.js";
import { interpolatePositions, sinCosPositions } from "../../../src/training/encoder/positions.js";

function numbers(tensor: Tensor | undefined): number[] {
  return Array.from(tensor?.data ?? [], Number);
}

function assertNear(found: readonly number[], expected: readonly number[], tolerance: number): void {
  assert.equal(found.length, expected.length);
  found.forEach((value, at) => {
    const difference = Math.abs(value - (expected[at] ?? Number.NaN));
    assert.ok(difference <= tolerance, `number ${at}: expected ${expected[at]}, got ${value}`);
  });
}

describe("sinCosPositions", () => {
  /** `get_2d_sincos_pos_embed(8, 3)` of facebookresearch/mae; patches are numbered row by row. */
  const published: readonly (readonly [patch: number, values: readonly number[]])[] = [
    [0, [0, 0, 1, 1, 0, 0, 1, 1]],
    [1, [0.841471, 0.0099998, 0.5403023, 0.99995, 0, 0, 1, 1]],
    [5, [0.9092974, 0.0199987, -0.4161468, 0.9998, 0.841471, 0.0099998, 0.5403023, 0.99995]],
    [7, [0.841471, 0.0099998, 0.5403023, 0.99995, 0.9092974, 0.0199987, -0.4161468, 0.9998]],
  ];
  const found = sinCosPositions(8, 3);

  it("has zeros for the class token, then one row per patch", () => {
    assert.deepEqual(found.shape, [1, 10, 8]);
    assertNear(numbers(found).slice(0, 8), Array<number>(8).fill(0), 0);
  });

  for (const [patch, values] of published) {
    it(`returns the published position of patch ${patch}`, () => {
      assertNear(numbers(found).slice(8 * (patch + 1), 8 * (patch + 2)), values, 1e-6);
    });
  }

  it("rejects a width that is not a multiple of 4", () => {
    for (const width of [2, 6, 10, 33]) {
      assert.throws(() => sinCosPositions(width, 2), { code: "unsupported_architecture", message: /width/ });
    }
  });
});

describe("interpolatePositions", () => {
  /** A class token's row of -1, then `index ** 1.5` over a grid of 3 x 3. */
  const grid: Tensor = {
    type: "float32",
    shape: [1, 10, 1],
    data: Float32Array.of(-1, ...Array.from({ length: 9 }, (_, index) => index ** 1.5)),
  };

  /** `torch.nn.functional.interpolate(grid, mode="bicubic", align_corners=False)` */
  const torch: readonly (readonly [to: number, values: readonly number[]])[] = [
    [2, [1.0803729, 3.8902194, 13.4166718, 19.5623604]],
    [
      4,
      [
        -0.43545, -0.0063525, 1.2171066, 2.3532236, 2.1333663, 3.3012788, 5.4798689, 7.0991015, 8.9487953, 10.9434576,
        14.2501192, 16.4857903, 15.0991983, 17.412735, 21.2074509, 23.7486343,
      ],
    ],
    [
      5,
      [
        -0.5782061, -0.3003218, 0.3280004, 1.4271026, 2.1897144, 1.1759108, 1.798524, 2.9585447, 4.4748306, 5.4642639,
        4.9269834, 6.0550618, 8, 10.1482449, 11.4856539, 11.0432234, 12.4882908, 14.9423995, 17.5516224, 19.1564026,
        15.2325831, 16.8283157, 19.5302086, 22.3805656, 24.1291714,
      ],
    ],
  ];
  for (const [to, values] of torch) {
    it(`resizes 3 x 3 to ${to} x ${to} like torch and keeps the class token's row`, () => {
      const found = interpolatePositions(grid, 3, to);
      assert.deepEqual(found.shape, [1, 1 + to * to, 1]);
      assertNear(numbers(found), [-1, ...values], 1e-5);
    });
  }

  it("resizes each channel separately", () => {
    const twice = Float32Array.from({ length: 20 }, (_, at) => (at % 2 === 0 ? Number(grid.data[at / 2]) : 7));
    const found = numbers(interpolatePositions({ ...grid, shape: [1, 10, 2], data: twice }, 3, 4));
    const channel = (odd: number) => found.filter((_, at) => at % 2 === odd);
    const alone = numbers(interpolatePositions(grid, 3, 4));
    assertNear(channel(0), alone, 0);
    assertNear(
      channel(1),
      alone.map(() => 7),
      1e-5,
    );
  });

  it("changes nothing if the size is the same", () => {
    const sizes = fc.record({ side: fc.integer({ min: 1, max: 5 }), width: fc.integer({ min: 1, max: 4 }) });
    const floats = fc.float({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 });
    const positions = sizes.chain(({ side, width }) => {
      const length = (1 + side * side) * width;
      return fc.tuple(
        fc.constant(side),
        fc.constant(width),
        fc.array(floats, { minLength: length, maxLength: length }),
      );
    });
    fc.assert(
      fc.property(positions, ([side, width, values]) => {
        const given: Tensor = {
          type: "float32",
          shape: [1, 1 + side * side, width],
          data: Float32Array.from(values),
        };
        const found = interpolatePositions(given, side, side);
        assert.deepEqual(found.shape, given.shape);
        assertNear(numbers(found), numbers(given), 0);
      }),
    );
  });
});
