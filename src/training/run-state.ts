import { existsSync } from "node:fs";
import { z } from "zod";
import { openSafetensors, writeSafetensors } from "../checkpoints/safetensors.js";
import { EpalmError } from "../errors.js";
import { constantSource, type Tensor, type TensorSource } from "../tensor/tensor.js";
import type { Moments } from "./adamw.js";

/** Everything that a training run needs to go on as if it had never stopped; batches follow from the step alone. */
export interface RunState {
  /** Optimizer steps done. */
  readonly step: number;
  /** Says which run it belongs to: a hash of config and data. */
  readonly fingerprint: string;
  /** What is trained, by name. */
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly moments: ReadonlyMap<string, Moments>;
}

const METADATA_KEY = "epalm.run";

const header = z.strictObject({ step: z.int().min(0), fingerprint: z.string() });

/** Writes a checkpoint: whole, or not at all. */
export function writeRunState(path: string, { step, fingerprint, weights, moments }: RunState): void {
  const tensors: [string, TensorSource][] = [];
  const add = (name: string, shape: readonly number[], data: Float32Array) =>
    tensors.push([name, constantSource("float32", shape, data)]);
  for (const [name, { shape, data }] of weights) {
    add(`weight ${name}`, shape, data as Float32Array);
    const moment = moments.get(name);
    if (!moment) continue;
    add(`mean ${name}`, shape, moment.mean);
    add(`square ${name}`, shape, moment.square);
  }
  writeSafetensors(path, tensors, { [METADATA_KEY]: JSON.stringify({ step, fingerprint }) });
}

/**
 * Reads a checkpoint; undefined if there is none.
 *
 * @throws invalid_checkpoint if it is damaged; invalid_option if it belongs to a run of other settings
 */
export function readRunState(path: string, fingerprint: string): RunState | undefined {
  if (!existsSync(path)) return undefined;
  const checkpoint = openSafetensors(path);
  try {
    const known = header.safeParse(JSON.parse(checkpoint.metadata[METADATA_KEY] ?? "null"));
    if (!known.success)
      throw new EpalmError("invalid_checkpoint", `${path}: is no checkpoint of a training run`);
    if (known.data.fingerprint !== fingerprint) {
      throw new EpalmError(
        "invalid_option",
        `${path}: belongs to a run with another config, model or data; choose another output, or remove it`,
      );
    }
    const read = (prefix: string) =>
      new Map(
        Array.from(checkpoint.tensors)
          .filter(([name]) => name.startsWith(prefix))
          .map(([name, { type, shape, read: values }]) => [
            name.slice(prefix.length),
            { type, shape, data: values() },
          ]),
      );
    const [weights, means, squares] = [read("weight "), read("mean "), read("square ")];
    const moments = new Map(
      Array.from(means, ([name, { data }]) => [
        name,
        { mean: data as Float32Array, square: squares.get(name)?.data as Float32Array },
      ]),
    );
    return { step: known.data.step, fingerprint, weights, moments };
  } finally {
    checkpoint.close();
  }
}
