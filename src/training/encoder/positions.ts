import { resizedPositions } from "../../backbones/encoders/positions.js";
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
  const source = { ...positions, read: () => floats(positions) };
  const resized = resizedPositions(source, { prefix: 1, from, to, method: "size" });
  return { type: resized.type, shape: resized.shape, data: resized.read() };
}
