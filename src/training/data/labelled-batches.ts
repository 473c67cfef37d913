import { type Random, randomStreams, shuffled } from "../../core/random.js";
import type { Classes } from "../encoder/attributes.js";
import type { PatchTargets } from "../encoder/region-targets.js";
import type { Labelled } from "./labelled-images.js";

/** Inputs of an encoder with the labels of what they show. */
export interface LabelledBatch {
  readonly examples: readonly Labelled[];
  /** The inputs one after the other: [B, ...input shape of the encoder] */
  readonly input: Float32Array;
  /** What the patches show, by attribute of patches. Default: unknown. */
  readonly patches?: ReadonlyMap<string, PatchTargets> | undefined;
}

/** Labelled examples of any modality, each of which can be made an encoder's input. */
export interface LabelledInputs {
  readonly examples: readonly Labelled[];
  /** The labels of patches, by attribute of patches, if patches are to be classified as well. */
  readonly patchLabels?: Classes | undefined;
  /**
   * The input of one example; called anew in each epoch.
   *
   * @param random for what varies between epochs
   */
  input(index: number, random: Random): EncoderInput | Promise<EncoderInput>;
}

export interface EncoderInput {
  /** Without the batch axis. */
  readonly data: Float32Array;
  /** By attribute, for each patch the index of its label in `patchLabels`; negative: it has none. */
  readonly patches?: ReadonlyMap<string, Int32Array> | undefined;
}

/** Seeds of the random streams of a run: further apart than any run has steps or epochs. */
const ORDER_SEED = 1_000_000_000;
const INPUT_SEED = 2_000_000_000;

/**
 * Batches of the steps from `first` to `steps` in random order, each of which depends on its step alone. What is left
 * of an epoch after its last whole batch is left out.
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

/** All examples once, in their order. */
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
 * Weight of an attribute of patches, where an attribute of examples has weight 1: from its patches, a small encoder
 * learns what objects look like in a fraction of the steps that it needs with the [CLS] state alone (Jiang et al. 2021,
 * token labelling).
 */
const PATCHES_WEIGHT = 2;

/** All patches that have a label weigh the same. */
function patchTargets(places: readonly number[]): PatchTargets {
  const count = places.filter((place) => place >= 0).length;
  const labels = BigInt64Array.from(places, (place) => BigInt(Math.max(0, place)));
  const weights = Float32Array.from(places, (place) => (place < 0 ? 0 : PATCHES_WEIGHT / count));
  return {
    labels: { type: "int64", shape: [places.length], data: labels },
    weights: { type: "float32", shape: [places.length], data: weights },
  };
}
