import { statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { EpalmError, unexpected } from "../core/errors.js";
import { readJsonFile } from "../core/json.js";
import { type Modality, modalities } from "../core/modality.js";
import { parse } from "../core/schema.js";
import { audioPreprocessingSchema } from "../preprocessing/audio-preprocessing.js";
import { imagePreprocessingSchema } from "../preprocessing/image-preprocessing.js";
import { videoPreprocessingSchema } from "../preprocessing/video-preprocessing.js";

/**
 * `epalm.json`, which makes a folder a model folder: what the graphs are, what goes around them, and the size
 * and checksum of every file. Keys that are not known are errors.
 */

export const MANIFEST_FILE = "epalm.json";

/** Raised when a folder of the old form can no longer be read. */
const VERSION = 1;

/** A manifest is a few kilobytes; thousands of adapters still stay far below. */
const MAX_MANIFEST_BYTES = 16 * 1024 * 1024;

const size = z.int().min(1);

/** Adapters are named in requests, and their files after them. */
export const ADAPTER_NAME = /^[A-Za-z0-9][\w.-]*$/;

/** A path inside the folder. */
const file = z.string().regex(/^(?!.*(^|\/)\.\.?(\/|$))[\w.@-]+(\/[\w.@-]+)*$/, "expected a path inside the folder");

const precision = z.enum(["fp32", "int8", "int4"]);

/** Where frozen weights came from, and under which terms. */
const origin = z.strictObject({
  /** What the build was given: a hub id or the last part of a path. */
  source: z.string(),
  /** The hub's commit. */
  revision: z.string().optional(),
  license: z.string().optional(),
});

/** An encoder of one modality; `preprocessing` is how its media are prepared. */
const encoderOf = <M extends Modality, P extends z.ZodType>(modality: M, preprocessing: P) =>
  z.strictObject({
    architecture: z.string(),
    modality: z.literal(modality),
    graph: file,
    precision,
    /** Frozen parameters. */
    parameters: size,
    /** One example's input, without the batch. */
    inputShape: z.array(size),
    /** Blocks, and [CLS] states. */
    depth: size,
    /** Width of a state. */
    width: size,
    preprocessing,
    origin,
  });

const encoder = z
  .discriminatedUnion("modality", [
    encoderOf("image", imagePreprocessingSchema),
    encoderOf("audio", audioPreprocessingSchema),
    encoderOf("video", videoPreprocessingSchema),
  ])
  .meta({ id: "encoder" });

const decoder = z.strictObject({
  architecture: z.string(),
  graph: file,
  precision,
  parameters: size,
  shape: z.strictObject({
    layers: size,
    width: size,
    embeddingWidth: size,
    attention: z.strictObject({ heads: size, keyHeads: size, headSize: size }),
    vocabulary: size,
    positions: size,
  }),
  /** The public `config.json` that the graph was built from: training builds its own graph from it. */
  config: z.record(z.string(), z.unknown()),
  /** Folder with `tokenizer.json` and `tokenizer_config.json`. */
  tokenizer: file,
  /** Where a text that has no tokens of its own starts from. */
  startToken: z.int().min(0),
  /** Any of them ends a text. */
  endTokens: z.array(z.int().min(0)).min(1),
  origin,
});

/** How a task's text is made, and how its answer is decoded if the request says nothing else. */
const task = z.strictObject({
  /** Text before the answer; `{question}` stands for what was asked, without its question mark. */
  prompt: z.string(),
  /** What stands between the prompt and the answer's own text: nothing, or a space after a prompt in words. */
  answerPrefix: z.string(),
  generation: z.strictObject({
    maxNewTokens: size.optional(),
    beams: size.optional(),
    lengthPenalty: z.number().optional(),
  }),
});

const taskName = z.enum(["caption", "vqa"]);

/** In the order in which they are shown. */

const adapter = z.strictObject({
  file,
  /** Of the encoder whose states it takes; where there is none, that of `encoder`. */
  modality: z.enum(modalities).optional(),
  /** The tasks that it was trained for; a request that names no adapter gets the first that fits. */
  tasks: z.array(taskName).min(1),
  /** Trained parameters. */
  parameters: size,
});

export const manifestSchema = z.strictObject({
  format: z.literal("epalm-model"),
  version: z.literal(VERSION),
  name: z.string().min(1),
  encoder,
  /** Of a model that takes several modalities: the encoders of the others, one for each. */
  otherEncoders: z.array(encoder).min(1).optional(),
  decoder,
  tasks: z.strictObject({ caption: task, vqa: task }),
  adapters: z.record(z.string().regex(ADAPTER_NAME), adapter),
  /** Every file but this one. */
  files: z.record(file, z.strictObject({ bytes: size, sha256: z.string().regex(/^[0-9a-f]{64}$/) })),
});

/** What the fields alone do not say. */
const consistentManifest = manifestSchema.superRefine(({ encoder, otherEncoders = [], adapters }, context) => {
  const seen = new Set<Modality>([encoder.modality]);
  for (const [index, { modality }] of otherEncoders.entries()) {
    const path = ["otherEncoders", index, "modality"];
    if (seen.has(modality)) context.addIssue({ code: "custom", path, message: `a second encoder of ${modality}` });
    seen.add(modality);
  }
  for (const [name, { modality = encoder.modality }] of Object.entries(adapters)) {
    const path = ["adapters", name, "modality"];
    if (!seen.has(modality)) context.addIssue({ code: "custom", path, message: `no encoder of ${modality}` });
  }
});

export type Manifest = z.infer<typeof manifestSchema>;
export type EncoderManifest = z.infer<typeof encoder>;
export type DecoderManifest = z.infer<typeof decoder>;
export type Origin = z.infer<typeof origin>;
export type Precision = z.infer<typeof precision>;
export type TaskName = z.infer<typeof taskName>;
export type TaskManifest = z.infer<typeof task>;
export type AdapterManifest = z.infer<typeof adapter>;

/** The manifest's JSON schema, for editors and other programs; `models/manifest.schema.json` holds it. */
export function manifestJsonSchema(): object {
  return z.toJSONSchema(manifestSchema);
}

/** Reads and checks `epalm.json` of a folder; throws `not_found` or `invalid_model`, naming the key. */
export function readManifest(folder: string): Manifest {
  const path = join(folder, MANIFEST_FILE);
  // A file has no files: looking for one in it is no mere absence to the system.
  if (statSync(folder, { throwIfNoEntry: false })?.isFile()) {
    throw unexpected("not_found", folder, "a model folder", "a file");
  }
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) {
    throw new EpalmError("not_found", `${path}: no such file; a model folder has one`);
  }
  const json = readJsonFile(path, MAX_MANIFEST_BYTES, "invalid_model");
  return parse(consistentManifest, json, path, "invalid_model");
}
