import { type Random, randomStreams, shuffled } from "../../core/random.js";
import type { Classes } from "../encoder/attributes.js";
import type { PatchTargets } from "../encoder/region-targets.js";
import type { Labelled } from "./labelled-images.js";

/** Inputs of an encoder with their labels. */
export interface LabelledBatch {
  readonly examples: readonly Labelled[];
  /** The inputs: [B, ...input shape of the encoder] */
  readonly input: Float32Array;
  /** Labels of the patches, by attribute of patches. Default: unknown. */
  readonly patches?: ReadonlyMap<string, PatchTargets> | undefined;
}

/** Labelled examples of any modality, which can be converted to inputs of an encoder. */
export interface LabelledInputs {
  readonly examples: readonly Labelled[];
  /** The labels of each attribute of patches, if patches are to be classified too. */
  readonly patchLabels?: Classes | undefined;
  /**
   * Computes the input of one example; called again in each epoch.
   *
   * @param random source of variation between epochs
   */
  input(index: number, random: Random): EncoderInput | Promise<EncoderInput>;
}

export interface EncoderInput {
  /** The input without the batch axis. */
  readonly data: Float32Array;
  /** For each attribute, the index of each patch's label in `patchLabels`; negative if it has none. */
  readonly patches?: ReadonlyMap<string, Int32Array> | undefined;
}

/** Offsets of the seeds of a run's random streams; further apart than any number of steps or epochs. */
const ORDER_SEED = 1_000_000_000;
const INPUT_SEED = 2_000_000_000;

/**
 * Batches of the steps from `first` to `steps` in random order; each batch depends only on its step. Examples left over
 * after the last complete batch of an epoch are skipped.
 *
 * @example
 * ```ts
 * import { type LabelledInputs, randomBatches } from "epalm/fedmae";
 * declare const inputs: LabelledInputs;
 * const batches = (first: number) => randomBatches(inputs, { first, steps: 1000, batchSize: 32, seed: 0 });
 * ```
 */
export async function* randomBatches(
  inputs: LabelledInputs,
  { first, steps, batchSize, seed }: { first: number; steps: number; batchSize: number; seed: number },
): AsyncGenerator<LabelledBatch> {
  const all = Array.from(inputs.examples.keys());
  const perEpoch = Math.max(1, Math.floor(all.length / batchSize));
  for (let step = first; step < steps; step++) {
    const [order = Math.random] = randomStreams(seed + ORDER_SEED + Math.floor(step / perEpoch), 1);
    const [random = Math.random] = randomStreams(seed + INPUT_SEED + step, 1);
    const start = (step % perEpoch) * batchSize;
    yield await batchOf(inputs, shuffled(all, order).slice(start, start + batchSize), random);
  }
}

/**
 * Batches of all examples, once and in order.
 *
 * @example
 * ```ts
 * import { batchesInOrder, type LabelledInputs } from "epalm/fedmae";
 * declare const inputs: LabelledInputs;
 * for await (const { examples } of batchesInOrder(inputs, { batchSize: 32, seed: 0 })) console.log(examples.length);
 * ```
 */
export async function* batchesInOrder(
  inputs: LabelledInputs,
  { batchSize, seed }: { batchSize: number; seed: number },
): AsyncGenerator<LabelledBatch> {
  const all = Array.from(inputs.examples.keys());
  const [random = Math.random] = randomStreams(seed + INPUT_SEED, 1);
  for (let start = 0; start < all.length; start += batchSize) {
    yield await batchOf(inputs, all.slice(start, start + batchSize), random);
  }
}

async function batchOf(
  { examples, patchLabels = new Map(), input }: LabelledInputs,
  indices: readonly number[],
  random: Random,
): Promise<LabelledBatch> {
  const made: EncoderInput[] = [];
  for (const index of indices) made.push(await input(index, random));
  const size = made[0]?.data.length ?? 0;
  const data = new Float32Array(made.length * size);
  for (const [row, { data: own }] of made.entries()) data.set(own, row * size);
  const patches = Array.from(patchLabels.keys(), (attribute) => {
    return [attribute, patchTargets(made.flatMap((one) => Array.from(one.patches?.get(attribute) ?? [])))] as const;
  });
  return {
    examples: indices.flatMap((index) => examples[index] ?? []),
    input: data,
    ...(patches.length > 0 ? { patches: new Map(patches) } : {}),
  };
}

/**
 * Weight of an attribute of patches, relative to the weight 1 of an attribute of examples. With patch labels, a small
 * encoder learns what objects look like in a fraction of the steps that it needs with the [CLS] state alone (token
 * labelling, Jiang et al. 2021).
 */
const PATCHES_WEIGHT = 2;

/** All patches with a label have the same weight. */
function patchTargets(places: readonly number[]): PatchTargets {
  const count = places.filter((place) => place >= 0).length;
  const labels = BigInt64Array.from(places, (place) => BigInt(Math.max(0, place)));
  const weights = Float32Array.from(places, (place) => (place < 0 ? 0 : PATCHES_WEIGHT / count));
  return {
    labels: { type: "int64", shape: [places.length], data: labels },
    weights: { type: "float32", shape: [places.length], data: weights },
  };
}
