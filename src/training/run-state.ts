import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import type { Checkpoint } from "../formats/checkpoint.js";
import { openSafetensors, writeSafetensors } from "../formats/safetensors.js";
import { bytesOf, constantSource, floats, type Tensor } from "../tensor/tensor.js";
import type { Moments } from "./adamw.js";

/** Everything that a training run needs to resume exactly; its batches are determined by the step alone. */
export interface RunState {
  /** Optimizer steps done. */
  readonly step: number;
  /** Identifies the run: a hash of its config and data. */
  readonly fingerprint: string;
  /** The trained tensors by name. */
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly moments: ReadonlyMap<string, Moments>;
}

const METADATA_KEY = "epalm.run";

/** `sha256` covers everything else; safetensors alone cannot detect a flipped bit in a weight. */
const header = z.strictObject({ step: z.int().min(0), fingerprint: z.string(), sha256: z.string() });

type Header = z.infer<typeof header>;
type NamedTensors = readonly (readonly [name: string, tensor: Tensor])[];

/** Writes a checkpoint atomically. */
export function writeRunState(path: string, { step, fingerprint, weights, moments }: RunState): void {
  const tensors: [string, Tensor][] = [];
  for (const [name, { shape, data }] of weights) {
    tensors.push([`weight ${name}`, { type: "float32", shape, data }]);
    const moment = moments.get(name);
    if (!moment) continue;
    tensors.push([`mean ${name}`, { type: "float32", shape, data: moment.mean }]);
    tensors.push([`square ${name}`, { type: "float32", shape, data: moment.square }]);
  }
  const known: Header = { step, fingerprint, sha256: digestOf(step, fingerprint, tensors) };
  writeSafetensors(
    path,
    tensors.map(([name, { type, shape, data }]) => [name, constantSource(type, shape, data)]),
    { [METADATA_KEY]: JSON.stringify(known) },
  );
}

/**
 * Reads a checkpoint; returns undefined if there is none.
 *
 * @throws invalid_checkpoint if it is damaged; invalid_option if it belongs to a run with other settings
 */
export function readRunState(path: string, fingerprint: string): RunState | undefined {
  if (!existsSync(path)) return undefined;
  const checkpoint = openSafetensors(path);
  try {
    const known = parseHeader(path, checkpoint.metadata[METADATA_KEY]);
    const tensors = tensorsOf(checkpoint);
    if (known.sha256 !== digestOf(known.step, known.fingerprint, tensors)) {
      throw new EpalmError(
        "invalid_checkpoint",
        `${path}: the file is damaged: its SHA-256 does not match the recorded one`,
      );
    }
    if (known.fingerprint !== fingerprint) {
      throw new EpalmError(
        "invalid_option",
        `${path}: belongs to a run with another config, model or data; choose another output folder or remove this file`,
      );
    }
    const squares = withPrefix(tensors, "square ");
    const moments = Array.from(withPrefix(tensors, "mean "), ([name, mean]) => {
      return [name, { mean: floats(mean), square: floats(squares.get(name)) }] as const;
    });
    return {
      step: known.step,
      fingerprint,
      weights: withPrefix(tensors, "weight "),
      moments: new Map(moments),
    };
  } finally {
    checkpoint.close();
  }
}

/** Reads only the weights of a checkpoint, whichever run it belongs to; returns undefined if there is none. */
export function readTrainedWeights(path: string): Map<string, Tensor> | undefined {
  if (!existsSync(path)) return undefined;
  const checkpoint = openSafetensors(path);
  try {
    return withPrefix(tensorsOf(checkpoint, "weight "), "weight ");
  } finally {
    checkpoint.close();
  }
}

function tensorsOf(checkpoint: Checkpoint, prefix = ""): NamedTensors {
  return Array.from(checkpoint.tensors).flatMap(([name, { type, shape, read }]) =>
    name.startsWith(prefix) ? [[name, { type, shape, data: read() }] as const] : [],
  );
}

function withPrefix(tensors: NamedTensors, prefix: string): Map<string, Tensor> {
  return new Map(
    tensors.flatMap(([name, tensor]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), tensor] as const] : [],
    ),
  );
}

function parseHeader(path: string, text = "null"): Header {
  try {
    return header.parse(JSON.parse(text));
  } catch (cause) {
    throw new EpalmError("invalid_checkpoint", `${path}: expected a checkpoint of a training run`, { cause });
  }
}

/** SHA-256 of the inputs of a run: its settings as JSON, and tensors. */
export function fingerprintOf(settings: unknown, tensors: ReadonlyMap<string, Tensor> = new Map()): string {
  const hash = createHash("sha256").update(JSON.stringify(settings));
  for (const [name, { data }] of tensors) hash.update(name).update(bytesOf(data));
  return hash.digest("hex");
}

function digestOf(step: number, fingerprint: string, tensors: NamedTensors): string {
  const hash = createHash("sha256").update(JSON.stringify([step, fingerprint]));
  for (const [name, { type, shape, data }] of tensors)
    hash.update(JSON.stringify([name, type, shape])).update(bytesOf(data));
  return hash.digest("hex");
}
