import { z } from "zod";
import { maeConfig } from "../backbones/encoders/mae.js";
import { unexpected } from "../core/errors.js";
import { parseJson } from "../core/json.js";
import { parse } from "../core/schema.js";
import type { Checkpoint } from "../formats/checkpoint.js";
import { namingFile } from "../formats/invalid-checkpoint.js";
import { openSafetensors, writeSafetensors } from "../formats/safetensors.js";
import { constantSource, type Tensor } from "../tensor/tensor.js";
import { checkNumbers, checkShapes } from "./aggregate.js";
import { byteCount, type ClientTask, type MeasuredUpdate } from "./client.js";
import { fedMaeConfigSchema } from "./config.js";

/**
 * Tasks and updates as safetensors files, with which a round can run on several machines. Everything but the tensors is
 * JSON in `__metadata__`, under one key. None of them contains the name of a client or of an image.
 */

const TASK_KEY = "epalm.fedmae.task";
const UPDATE_KEY = "epalm.fedmae.update";

/** Changes with every change of the headers. */
const VERSION = 1;

const seed = z.int().min(0);

const taskHeader = z.strictObject({
  version: z.literal(VERSION),
  config: maeConfig,
  trained: z.array(z.string()).min(1).readonly(),
  settings: fedMaeConfigSchema.pick({
    localEpochs: true,
    batchSize: true,
    optimizer: true,
    proximal: true,
    leastArea: true,
    mirror: true,
  }),
  round: z.int().min(0),
  rounds: z.int().min(1),
  seed,
});

const updateHeader = z.strictObject({
  version: z.literal(VERSION),
  /** That of the task, which identifies the task. */
  seed,
  examples: z.int().min(1),
  loss: z.number(),
  meanPatchLoss: z.number(),
  milliseconds: z.number().min(0),
  peakBytes: z.number().min(0),
});

/** Writes what a client needs for a round, except its images. */
export function writeTask(path: string, { weights, ...settings }: ClientTask): void {
  writeTensors(path, weights, TASK_KEY, { version: VERSION, ...settings } satisfies z.infer<typeof taskHeader>);
}

/**
 * Reads a task. Whether its tensors are those of its model becomes known when the client builds the model.
 *
 * @throws not_found, invalid_checkpoint
 */
export function readTask(path: string): ClientTask {
  return reading(path, (checkpoint) => {
    const { version: _version, ...header } = parseHeader(checkpoint, TASK_KEY, taskHeader);
    const weights = readNumbers(checkpoint);
    const unknown = header.trained.find((name) => !weights.has(name));
    if (unknown !== undefined) throw unexpected("invalid_checkpoint", "trained", "names of tensors", unknown);
    return { ...header, weights };
  });
}

/** Writes the result of a client's round. */
export function writeUpdate(path: string, task: ClientTask, update: MeasuredUpdate): void {
  const { weights, examples, loss, meanPatchLoss, milliseconds, peakBytes } = update;
  const measured = { examples, loss, meanPatchLoss, milliseconds, peakBytes };
  const header: z.infer<typeof updateHeader> = { version: VERSION, seed: task.seed, ...measured };
  writeTensors(path, weights, UPDATE_KEY, header);
}

/**
 * Reads an update of a task. The shapes are compared with those of the task before any number is read.
 *
 * @throws not_found, invalid_checkpoint
 */
export function readUpdate(path: string, task: ClientTask): MeasuredUpdate {
  return reading(path, (checkpoint) => {
    const { version: _version, seed: given, ...measured } = parseHeader(checkpoint, UPDATE_KEY, updateHeader);
    if (given !== task.seed) throw unexpected("invalid_checkpoint", "seed", `${task.seed}, that of the task`, given);
    checkShapes(checkpoint.tensors, new Map(Array.from(task.weights).filter(([name]) => task.trained.includes(name))));
    const weights = readNumbers(checkpoint);
    return { ...measured, weights, bytesDown: byteCount(task.weights), bytesUp: byteCount(weights) };
  });
}

/**
 * Reads tensors that were aggregated elsewhere.
 *
 * @throws not_found, invalid_checkpoint
 */
export function readAggregate(path: string): Map<string, Tensor> {
  return reading(path, readNumbers);
}

function writeTensors(path: string, tensors: ReadonlyMap<string, Tensor>, key: string, header: unknown): void {
  const sources = Array.from(tensors, ([name, { type, shape, data }]) => {
    return [name, constantSource(type, shape, data)] as const;
  });
  writeSafetensors(path, sources, { [key]: JSON.stringify(header) });
}

function reading<T>(path: string, read: (checkpoint: Checkpoint) => T): T {
  const checkpoint = openSafetensors(path);
  try {
    return read(checkpoint);
  } catch (error) {
    throw namingFile(path, error);
  } finally {
    checkpoint.close();
  }
}

function parseHeader<Schema extends z.ZodType>({ metadata }: Checkpoint, key: string, schema: Schema): z.infer<Schema> {
  const text = metadata[key];
  if (text === undefined) throw unexpected("invalid_checkpoint", "__metadata__", `the key '${key}'`, "none");
  return parse(schema, parseJson(text, key, "invalid_checkpoint"), key, "invalid_checkpoint");
}

function readNumbers({ tensors }: Checkpoint): Map<string, Tensor> {
  return new Map(
    Array.from(tensors, ([name, { type, shape, read }]) => {
      if (type !== "float32") throw unexpected("invalid_checkpoint", name, "float32", type);
      const data = read();
      checkNumbers(name, data);
      return [name, { type, shape, data }];
    }),
  );
}
