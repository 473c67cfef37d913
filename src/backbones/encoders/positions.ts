import type { RotaryAngles } from "../../layers/rotary.js";
import { cubic, filterTaps, resizedAxis, type Taps } from "../../tensor/filter-taps.js";
import { floats, type TensorSource } from "../../tensor/tensor.js";
import type { ParameterReader } from "../parameters.js";

/**
 * How a grid of positions is resized; always torch's bicubic `interpolate` without `align_corners`. `size`: to a
 * number of patches (MAE, and DINOv2 in transformers). `offset`: by the factor (patches + 0.1) / patches, as in the
 * published code of DINO and of DINOv2 without registers. `antialias`: the filter is widened when the grid is reduced
 * (DINOv2 with registers, timm).
 */
export type PositionInterpolation = "size" | "offset" | "antialias";

/** Added to the number of patches by the published code, to avoid rounding down. */
const PUBLISHED_OFFSET = 0.1;

export interface PositionResize {
  /** Positions of other tokens, which precede the patches and are kept. */
  readonly prefix: number;
  /** Patches along each side of the grid. */
  readonly from: number;
  readonly to: number;
  readonly method: PositionInterpolation;
}

/** Positions [1, prefix + from^2, d] for another number of patches: [1, prefix + to^2, d], computed when read. */
export function resizedPositions(source: TensorSource, { prefix, from, to, method }: PositionResize): TensorSource {
  const width = source.shape[2] ?? 0;
  const shape = [1, prefix + to * to, width];
  return {
    type: "float32",
    shape,
    read() {
      const data = floats({ data: source.read() });
      const taps = tapsOf(from, to, method);
      const narrowed = resizedAxis(data.subarray(prefix * width), { outer: from, from, inner: width }, taps);
      const grid = resizedAxis(narrowed, { outer: 1, from, inner: to * width }, taps);
      return Float32Array.from([...data.subarray(0, prefix * width), ...grid]);
    },
  };
}

function tapsOf(from: number, to: number, method: PositionInterpolation): Taps[] {
  if (method === "antialias") return filterTaps(from, to, { support: 2, weight: (x) => cubic(x, -0.5) });
  const scale = method === "offset" ? from / (to + PUBLISHED_OFFSET) : from / to;
  return Array.from({ length: to }, (_, place) => {
    const center = (place + 0.5) * scale - 0.5;
    const first = Math.floor(center) - 1;
    return { first, weights: [0, 1, 2, 3].map((tap) => cubic(center - first - tap, -0.75)) };
  });
}

/** The tokens of an image whose patches rotate queries and keys. */
export interface RotatedPatches {
  /** Tokens before the patches, which are not rotated. */
  readonly special: number;
  /** Patches along each side. */
  readonly side: number;
  /** Frequencies of each axis: a quarter of a head's elements. */
  readonly quarter: number;
}

/**
 * The rotation of queries and keys by the positions of patches: the first half of the pairs of a head rotates with the
 * row, the second half with the column. T = special + side^2.
 *
 * @param readAngles gives the angle of a row or a column, counted from 0, for each frequency; called when tables are
 *   read
 */
export function patchRotations(
  parameters: ParameterReader,
  { special, side, quarter }: RotatedPatches,
  readAngles: () => (place: number, frequency: number) => number,
): RotaryAngles {
  const [tokens, pairs] = [special + side * side, 2 * quarter];
  /** A value of each angle: [T, headSize / 2] */
  const table = (value: (angle: number) => number): TensorSource => ({
    type: "float32",
    shape: [tokens, pairs],
    read() {
      const angleOf = readAngles();
      return Float32Array.from({ length: tokens * pairs }, (_, at) => {
        const [token, pair] = [Math.floor(at / pairs) - special, at % pairs];
        const place = pair < quarter ? Math.floor(token / side) : token % side;
        return value(token < 0 ? 0 : angleOf(place, pair % quarter));
      });
    },
  });
  return {
    cosines: parameters.derived("rope.cosines", () => table(Math.cos)),
    sines: parameters.derived("rope.sines", () => table(Math.sin)),
    rows: parameters.g.integers([0]),
  };
}
