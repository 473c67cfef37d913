import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import type { Checkpoint } from "../formats/checkpoint.js";
import { openSafetensors, writeSafetensors } from "../formats/safetensors.js";
import { bytesOf, constantSource, floats, type Tensor } from "../tensor/tensor.js";
import type { Moments } from "./adamw.js";

/**
 * Identifies a run by everything that affects its weights. It contains no paths, so that a run can resume after its
 * folders have moved.
 */
export interface Fingerprint {
  /** Settings that JSON can represent; messages name those that differ. */
  readonly config: unknown;
  /** Hash of the model, if the run has one. */
  readonly model?: string | undefined;
  /** Hash of the data. */
  readonly data?: string | undefined;
}

/** Everything that a training run needs to resume exactly; its batches are determined by the step alone. */
export interface RunState {
  /** Optimizer steps done. */
  readonly step: number;
  readonly fingerprint: Fingerprint;
  /** The trained tensors by name. */
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly moments: ReadonlyMap<string, Moments>;
}

const METADATA_KEY = "epalm.run";

/** `sha256` covers everything else; safetensors alone cannot detect a flipped bit in a weight. */
const header = z.strictObject({
  step: z.int().min(0),
  // Earlier versions stored one hash of config, absolute paths and texts.
  fingerprint: z.union([
    z.string(),
    z.strictObject({ config: z.unknown(), model: z.string().optional(), data: z.string().optional() }),
  ]),
  sha256: z.string(),
});

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
  // As it will be read, because the digest covers it.
  const stored = { ...fingerprint, config: asJson(fingerprint.config) };
  const known: Header = { step, fingerprint: stored, sha256: digestOf(step, stored, tensors) };
  writeSafetensors(
    path,
    tensors.map(([name, { type, shape, data }]) => [name, constantSource(type, shape, data)]),
    { [METADATA_KEY]: JSON.stringify(known) },
  );
}

/**
 * Reads a checkpoint; returns undefined if there is none.
 *
 * @throws invalid_checkpoint if it is damaged; invalid_option if it belongs to a run with another config, model or
 * data, naming which of them differ, or was written by an earlier version
 */
export function readRunState(path: string, fingerprint: Fingerprint): RunState | undefined {
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
    refuseOtherRun(path, known.fingerprint, fingerprint);
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

function refuseOtherRun(path: string, known: Header["fingerprint"], wanted: Fingerprint): void {
  const remedy = "choose another output folder or remove this file";
  if (typeof known === "string") {
    const cause = "was written by an earlier version of epalm, which compared absolute paths, and cannot be resumed";
    throw new EpalmError("invalid_option", `${path}: ${cause}; ${remedy}`);
  }
  const keys = differences(known.config, wanted.config);
  const parts = [
    ...(keys.length > 0 ? [`another config (${keys.join(", ")})`] : []),
    ...(known.model === wanted.model ? [] : ["another model"]),
    ...(known.data === wanted.data ? [] : ["other data"]),
  ];
  if (parts.length === 0) return;
  throw new EpalmError("invalid_option", `${path}: belongs to a run with ${parts.join(" and ")}; ${remedy}`);
}

/** The settings that differ, such as `'optimizer.learningRate' was 0.1 and is now 0.2`. */
function differences(before: unknown, now: unknown): string[] {
  const [old, current] = [leavesOf(asJson(before)), leavesOf(asJson(now))];
  const keys = new Set([...old.keys(), ...current.keys()]);
  return Array.from(keys).flatMap((key) => {
    const [was, is] = [old.get(key) ?? "absent", current.get(key) ?? "absent"];
    return was === is ? [] : [`'${key}' was ${was} and is now ${is}`];
  });
}

function asJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value) ?? "null");
}

/** Every value that is not an object, as JSON, by its path. */
function leavesOf(value: unknown, path = ""): Map<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return new Map([[path, JSON.stringify(value)]]);
  }
  const below = Object.entries(value).map(([key, inner]) => leavesOf(inner, path === "" ? key : `${path}.${key}`));
  return new Map(below.flatMap((leaves) => Array.from(leaves)));
}

/** SHA-256 of values that JSON can represent, and of tensors; for the parts of a fingerprint. */
export function hashOf(values: unknown, tensors: ReadonlyMap<string, Tensor> = new Map()): string {
  const hash = createHash("sha256").update(JSON.stringify(values));
  for (const [name, { data }] of tensors) hash.update(name).update(bytesOf(data));
  return hash.digest("hex");
}

function digestOf(step: number, fingerprint: Header["fingerprint"], tensors: NamedTensors): string {
  const hash = createHash("sha256").update(JSON.stringify([step, fingerprint]));
  for (const [name, { type, shape, data }] of tensors)
    hash.update(JSON.stringify([name, type, shape])).update(bytesOf(data));
  return hash.digest("hex");
}
