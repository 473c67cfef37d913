import { EpalmError } from "../../core/errors.js";
import { floats, type Tensor } from "../../tensor/tensor.js";

/**
 * Fixed positions of a ViT with a class token: [1, 1 + side^2, width], zeros for the class token. The first half of the
 * channels encodes the column, the second half the row; each half is `[sin | cos]` with rates `10000^(-i / (width /
 * 4))` (facebookresearch/mae `util/pos_embed.py`).
 *
 * @throws unsupported_architecture if the width is not a multiple of 4
 */
export function sinCosPositions(width: number, side: number): Tensor & { readonly data: Float32Array<ArrayBuffer> } {
  const quarter = width / 4;
  if (!Number.isInteger(quarter)) {
    throw new EpalmError(
      "unsupported_architecture",
      `positions: expected a width that is a multiple of 4, got ${width}`,
    );
  }
  const data = new Float32Array((1 + side * side) * width);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const start = (1 + row * side + column) * width;
      for (let i = 0; i < quarter; i++) {
        const rate = 10_000 ** (-i / quarter);
        data[start + i] = Math.sin(column * rate);
        data[start + quarter + i] = Math.cos(column * rate);
        data[start + 2 * quarter + i] = Math.sin(row * rate);
        data[start + 3 * quarter + i] = Math.cos(row * rate);
      }
    }
  }
  return { type: "float32", shape: [1, 1 + side * side, width], data };
}

/**
 * Positions for images of a different size. The grid of patches is resized bicubically; the class token's row is kept
 * (facebookresearch/mae `util/pos_embed.py`, `interpolate_pos_embed`).
 *
 * @param positions [1, 1 + from^2, width]
 */
export function interpolatePositions(positions: Tensor, from: number, to: number): Tensor {
  const width = positions.shape[2] ?? 0;
  const source = floats(positions);
  const data = new Float32Array((1 + to * to) * width);
  data.set(source.subarray(0, width));
  const weights = Array.from({ length: to }, (_, place) => cubicWeights(place, from, to));
  weights.forEach((rows, row) => {
    weights.forEach((columns, column) => {
      const target = (1 + row * to + column) * width;
      for (const [y, rowWeight] of rows) {
        for (const [x, columnWeight] of columns) {
          const start = (1 + y * from + x) * width;
          const weight = rowWeight * columnWeight;
          source.subarray(start, start + width).forEach((value, i) => {
            data[target + i] = Number(data[target + i]) + weight * value;
          });
        }
      }
    });
  });
  return { type: "float32", shape: [1, 1 + to * to, width], data };
}

/** Four neighbours and their weights, as in torch's bicubic `interpolate` without `align_corners` (a = -0.75). */
function cubicWeights(place: number, from: number, to: number): [number, number][] {
  const center = ((place + 0.5) * from) / to - 0.5;
  const first = Math.floor(center);
  return [-1, 0, 1, 2].map((offset) => {
    const index = Math.min(from - 1, Math.max(0, first + offset));
    return [index, cubic(center - first - offset)];
  });
}

function cubic(distance: number): number {
  const a = -0.75;
  const x = Math.abs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? a * (((x - 5) * x + 8) * x - 4) : 0;
}
