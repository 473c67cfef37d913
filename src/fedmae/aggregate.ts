import { EpalmError, excerpt } from "../core/errors.js";
import { formatShape, sameShape, type Tensor, type TypedArray } from "../tensor/tensor.js";
import type { ClientUpdate } from "./client.js";

/**
 * Rejects an update that would corrupt the average.
 *
 * @throws invalid_checkpoint, naming the tensor or the invalid value
 */
export function checkUpdate(update: ClientUpdate, expected: ReadonlyMap<string, Tensor>): void {
  checkTensors(update.weights, expected);
  for (const key of ["loss", "meanPatchLoss"] as const) {
    if (!Number.isFinite(update[key])) throw refused(`${key}: expected a finite number, got ${update[key]}`);
  }
  if (!Number.isInteger(update.examples) || update.examples < 1)
    throw refused(`images: expected at least 1, got ${update.examples}`);
}

/**
 * Rejects weights that are not exactly the expected tensors, of the same shapes and with finite numbers.
 *
 * @throws invalid_checkpoint, naming the tensor
 */
export function checkTensors(weights: ReadonlyMap<string, Tensor>, expected: ReadonlyMap<string, Tensor>): void {
  checkShapes(weights, expected);
  for (const [name, { data }] of weights) {
    if (data.length !== expected.get(name)?.data.length) throw refused(`${name}: has ${data.length} numbers`);
    checkNumbers(name, data);
  }
}

type Shaped = Pick<Tensor, "type" | "shape">;

/**
 * Like `checkTensors`, before the numbers have been read.
 *
 * @throws invalid_checkpoint, naming the tensor
 */
export function checkShapes(weights: ReadonlyMap<string, Shaped>, expected: ReadonlyMap<string, Shaped>): void {
  for (const [name, { type, shape }] of expected) {
    const tensor = weights.get(name);
    if (!tensor) throw refused(`${name}: missing from the update`);
    if (!sameShape(tensor.shape, shape)) {
      throw refused(`${name}: expected ${formatShape(shape)}, got ${formatShape(tensor.shape)}`);
    }
    if (tensor.type !== type) throw refused(`${name}: expected ${type}, got ${tensor.type}`);
  }
  const surplus = Array.from(weights.keys()).find((name) => !expected.has(name));
  if (surplus !== undefined) throw refused(`${excerpt(surplus)}: not one of the requested tensors`);
}

/** @throws invalid_checkpoint unless all numbers are finite */
export function checkNumbers(name: string, data: TypedArray): void {
  if (!(data instanceof Float32Array) || !data.every(Number.isFinite))
    throw refused(`${name}: contains NaN or Infinity`);
}

function refused(message: string): EpalmError {
  return new EpalmError("invalid_checkpoint", message);
}

/** Weights of one owner, and their weight in the average. */
export interface Contribution {
  readonly weights: ReadonlyMap<string, Tensor>;
  /** Number of images. */
  readonly examples: number;
}

/**
 * The mean of each tensor over its owners, weighted by their numbers of images (FedAvg, McMahan et al. 2017,
 * arXiv 1602.05629). A tensor that only some of them have, such as a block of the cascade, is averaged among these. The
 * operations and their order are those of Flower's FedAvg in float64, so that both give the same bits.
 */
export function average(contributions: readonly Contribution[]): Map<string, Tensor> {
  const totals = new Map<string, number>();
  for (const { weights, examples } of contributions) {
    for (const name of weights.keys()) totals.set(name, (totals.get(name) ?? 0) + examples);
  }
  const sums = new Map<string, { readonly tensor: Tensor; readonly sum: Float64Array }>();
  for (const { weights, examples } of contributions) {
    for (const [name, tensor] of weights) {
      const { sum } = sums.get(name) ?? { sum: new Float64Array(tensor.data.length) };
      const share = examples / (totals.get(name) ?? examples);
      for (let i = 0; i < sum.length; i++) sum[i] = Number(sum[i]) + share * Number(tensor.data[i]);
      sums.set(name, { tensor, sum });
    }
  }
  return new Map(Array.from(sums, ([name, { tensor, sum }]) => [name, { ...tensor, data: Float32Array.from(sum) }]));
}
