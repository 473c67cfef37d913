import { at } from "../core/at.js";
import type { Shape } from "../tensor/tensor.js";

/**
 * What an adapter knows about the encoder states of its training media, for the detection of media that are unlike
 * them. Two measures are combined:
 * - the Mahalanobis distance of the state of the middle block (Lee et al. 2018, arXiv 1807.03888), with a covariance of
 *   low rank plus a residual;
 * - a linear discriminant (Fisher 1936) between the states of up to six blocks and those of generated inputs that
 *   belong to no domain (outlier exposure, Hendrycks et al. 2019, arXiv 1812.04606).
 */
export interface FamiliaritySummary {
  /** The block of the Mahalanobis distance, counted from 0. */
  readonly block: number;
  /** The blocks of the discriminant, in ascending order. */
  readonly blocks: readonly number[];
  /** Mean state of `block`: [dv]. */
  readonly mean: Float32Array;
  /**
   * [rank, dv]: the directions of the largest variances, each multiplied by `sqrt(1 / residual - 1 / variance)`. The
   * squared distance is then `|y|^2 / residual - |components y|^2`.
   */
  readonly components: Float32Array;
  /** Mean variance in all other directions. */
  readonly residual: number;
  /** The discriminant, [blocks, dv]; it is larger for media that are unlike the training media. */
  readonly direction: Float32Array;
  /** Mean and standard deviation of both measures on examples that the summary was not fitted to. */
  readonly distance: Scale;
  readonly contrast: Scale;
  /** Scores of these examples, in ascending order; higher ones are less typical. */
  readonly scores: Float32Array;
}

export interface Scale {
  readonly mean: number;
  readonly std: number;
}

/** Names and shapes of the tensors of a summary. */
export function familiarityShapes(
  { blocks, rank, examples }: { readonly blocks: number; readonly rank: number; readonly examples: number },
  width: number,
): Readonly<Record<"mean" | "components" | "direction" | "scores", Shape>> {
  return { mean: [width], components: [rank, width], direction: [blocks, width], scores: [examples] };
}

/** The part of a summary that both measures need. */
export type Measures = Omit<FamiliaritySummary, "distance" | "contrast" | "scores">;

/** Both measures of a medium: the logarithm of the squared Mahalanobis distance, and the discriminant. */
export function measured(
  { block, blocks, mean, components, residual, direction }: Measures,
  states: Float32Array,
): { readonly distance: number; readonly contrast: number } {
  const width = mean.length;
  const centred = new Float64Array(width);
  let square = 0;
  for (let i = 0; i < width; i++) {
    const value = at(states, block * width + i) - at(mean, i);
    centred[i] = value;
    square += value * value;
  }
  let explained = 0;
  for (let row = 0; row < components.length; row += width) explained += dot(components, row, centred, 0, width) ** 2;
  let contrast = 0;
  for (const [index, one] of blocks.entries()) contrast += dot(direction, index * width, states, one * width, width);
  return { distance: Math.log(Math.max(square / residual - explained, Number.MIN_VALUE)), contrast };
}

/** The larger of both standardised measures, smoothly: `log(exp(a) + exp(b))`. */
export function unusualness(
  { distance, contrast }: ReturnType<typeof measured>,
  scales: Pick<FamiliaritySummary, "distance" | "contrast">,
): number {
  const a = (distance - scales.distance.mean) / scales.distance.std;
  const b = (contrast - scales.contrast.mean) / scales.contrast.std;
  return Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));
}

/**
 * The share of the examples of a summary that are less typical than a medium, as (1 + rank) / (n + 1): a p-value, which
 * is below x for a share x of the media of the same origin.
 *
 * @param states [depth, dv]
 */
export function familiarityOf(summary: FamiliaritySummary, states: Float32Array): number {
  const { scores } = summary;
  const own = unusualness(measured(summary, states), summary);
  let low = 0;
  let high = scores.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(scores, middle) > own) high = middle;
    else low = middle + 1;
  }
  return (1 + scores.length - low) / (scores.length + 1);
}

function dot(a: ArrayLike<number>, fromA: number, b: ArrayLike<number>, fromB: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += (a[fromA + i] ?? 0) * (b[fromB + i] ?? 0);
  return sum;
}
