import { EpalmError } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { linear } from "../../layers/linear.js";
import type { ParameterReader } from "../parameters.js";

/** How clips are cut into tubelets, which are patches of several frames. */
export interface TubeletShape {
  /** d */
  readonly width: number;
  /** Frames of a tubelet. */
  readonly tubelet: number;
  /** Width and height of a tubelet in pixels. */
  readonly patch: number;
  /** Tubelets along each side of a frame. */
  readonly side: number;
}

/** pixels [B, F, 3, H, W] -> [B * T, side^2, d], frame by frame: a convolution whose windows do not overlap. */
export function embedTubelets(
  parameters: ParameterReader,
  pixels: Value,
  { width, tubelet, patch, side }: TubeletShape,
): Value {
  const { g } = parameters;
  const cut = g.reshape(pixels, [-1, tubelet, 3, side, patch, side, patch]);
  const windows = g.reshape(g.transpose(cut, [0, 3, 5, 2, 1, 4, 6]), [-1, side * side, 3 * tubelet * patch * patch]);
  return linear(g, windows, parameters.windows("patch_embed.proj", width, [3, tubelet, patch, patch]));
}

/**
 * Number of tubelets in time.
 *
 * @param own the config and its key if the number of frames is its own, for messages; undefined if it was chosen
 * @throws unsupported_architecture or, for a chosen number, invalid_option, if tubelets do not divide the frames
 */
export function tubeletsOf(frames: number, tubelet: number, own: string | undefined): number {
  const times = frames / tubelet;
  if (Number.isInteger(times)) return times;
  const expected = `expected a multiple of the tubelet size, ${tubelet}, got ${frames}`;
  if (own === undefined) throw new EpalmError("invalid_option", `frames: ${expected}`);
  throw new EpalmError("unsupported_architecture", `${own}: ${expected}`);
}
