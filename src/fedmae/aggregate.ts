import { EpalmError } from "../core/errors.js";
import { formatShape, sameShape, type Tensor } from "../tensor/tensor.js";
import type { ClientUpdate } from "./client.js";

/**
 * Rejects an update that would corrupt the average.
 *
 * @throws invalid_checkpoint, naming the tensor or the invalid value
 */
export function checkUpdate(update: ClientUpdate, expected: ReadonlyMap<string, Tensor>): void {
  const refuse = (message: string) => new EpalmError("invalid_checkpoint", message);
  for (const [name, { shape }] of expected) {
    const tensor = update.weights.get(name);
    if (!tensor) throw refuse(`${name}: missing from the update`);
    if (!sameShape(tensor.shape, shape) || tensor.data.length !== expected.get(name)?.data.length) {
      throw refuse(`${name}: expected ${formatShape(shape)}, got ${formatShape(tensor.shape)}`);
    }
    if (!(tensor.data instanceof Float32Array) || !tensor.data.every(Number.isFinite))
      throw refuse(`${name}: contains NaN or Infinity`);
  }
  const surplus = Array.from(update.weights.keys()).find((name) => !expected.has(name));
  if (surplus !== undefined) throw refuse(`${surplus}: not one of the requested tensors`);
  if (!Number.isFinite(update.loss)) throw refuse(`loss: expected a finite number, got ${update.loss}`);
  if (!Number.isInteger(update.examples) || update.examples < 1)
    throw refuse(`images: expected at least 1, got ${update.examples}`);
}

/** Weights of one owner, and their weight in the average. */
export interface Contribution {
  readonly weights: ReadonlyMap<string, Tensor>;
  /** Number of images. */
  readonly examples: number;
}

/**
 * The mean of each tensor over its owners, weighted by their numbers of images (FedAvg, McMahan et al. 2017,
 * arXiv 1602.05629). A tensor that only some of them have, such as a block of the cascade, is averaged among these.
 */
export function average(contributions: readonly Contribution[]): Map<string, Tensor> {
  const sums = new Map<string, { readonly tensor: Tensor; readonly sum: Float64Array; examples: number }>();
  for (const { weights, examples } of contributions) {
    for (const [name, tensor] of weights) {
      const entry = sums.get(name) ?? { tensor, sum: new Float64Array(tensor.data.length), examples: 0 };
      sums.set(name, entry);
      entry.examples += examples;
      for (let i = 0; i < entry.sum.length; i++) {
        entry.sum[i] = Number(entry.sum[i]) + examples * Number(tensor.data[i]);
      }
    }
  }
  return new Map(
    Array.from(sums, ([name, { tensor, sum, examples }]) => [
      name,
      { ...tensor, data: Float32Array.from(sum, (value) => value / examples) },
    ]),
  );
}
