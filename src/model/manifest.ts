import { statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { poolings } from "../backbones/backbone.js";
import { EpalmError, unexpected } from "../core/errors.js";
import { readJsonFile } from "../core/json.js";
import { type Modality, modalities } from "../core/modality.js";
import { precisions } from "../core/precision.js";
import { parse } from "../core/schema.js";
import { audioPreprocessingSchema } from "../preprocessing/audio-preprocessing.js";
import { imagePreprocessingSchema } from "../preprocessing/image-preprocessing.js";
import { videoPreprocessingSchema } from "../preprocessing/video-preprocessing.js";

/**
 * `epalm.json`, the manifest of a model folder: its graphs, preprocessing, prompts and adapters, and the size and
 * checksum of every file. Unknown keys are errors.
 *
 * @example
 * ```ts
 * import { existsSync } from "node:fs";
 * import { join } from "node:path";
 * import { MANIFEST_FILE } from "epalm";
 * const isModelFolder = existsSync(join("my-model", MANIFEST_FILE));
 * ```
 */

export const MANIFEST_FILE = "epalm.json";

/** Incremented when folders of the previous format can no longer be read. */
const VERSION = 1;

/** A manifest takes a few kilobytes; even with thousands of adapters it stays far below this bound. */
const MAX_MANIFEST_BYTES = 16 * 1024 * 1024;

const size = z.int().min(1);

/** Requests refer to adapters by these names, and adapter files are named after them. */
export const ADAPTER_NAME = /^[A-Za-z0-9][\w.-]*$/;

/** A path inside the folder. */
const file = z.string().regex(/^(?!.*(^|\/)\.\.?(\/|$))[\w.@-]+(\/[\w.@-]+)*$/, "expected a path inside the folder");

const precision = z.enum(precisions);

/** The origin and licence of frozen weights. */
const origin = z.strictObject({
  /** The source given to the build: a hub id or the last part of a path. */
  source: z.string(),
  /** Commit on the hub. */
  revision: z.string().optional(),
  license: z.string().optional(),
});

/** A second graph of an encoder, which shares the weights of the first, and the arrangement of its patch states. */
const patches = z.strictObject({
  graph: file,
  frames: size,
  rows: size,
  columns: size,
  /** Whether the states pass the encoder's final norm. Default: true; those of LLaVA do not. */
  normed: z.literal(false).optional(),
});

/** The schema of an encoder of one modality. */
const encoderOf = <M extends Modality, P extends z.ZodType>(modality: M, preprocessing: P) =>
  z.strictObject({
    architecture: z.string(),
    modality: z.literal(modality),
    graph: file,
    precision,
    /** Number of frozen parameters. */
    parameters: size,
    /** Shape of one example's input, without the batch axis. */
    inputShape: z.array(size),
    /** Number of states: one per block, or 1 with the pooling `attention`. */
    depth: size,
    /** Width of a state. */
    width: size,
    /** How tokens become states. Default: `cls`, the class token. */
    pooling: z.enum(poolings).optional(),
    /** The graph that also returns patch states; only if an adapter needs them. */
    patches: patches.optional(),
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
  /** The public `config.json` from which the graph was built; training builds its own graph from it. */
  config: z.record(z.string(), z.unknown()),
  /** Whether the graph accepts visual tokens. Default: false; folders of version 0.2 and earlier do not. */
  visualTokens: z.boolean().optional(),
  /** Folder with `tokenizer.json` and `tokenizer_config.json`. */
  tokenizer: file,
  /** The token that a text without a prompt starts from. */
  startToken: z.int().min(0),
  /** The tokens any of which ends a text. */
  endTokens: z.array(z.int().min(0)).min(1),
  origin,
});

/** Bounds texts that people write about a model, which are sent with every list of models. */
const MAX_DESCRIPTION = 1000;
const MAX_EXAMPLE_QUESTIONS = 20;
const MAX_EXAMPLE_LENGTH = 200;

/** What a model can do in one task with media of one modality, for the people who use it. */
const capability = z.strictObject({
  /** What the model recognises, and what it does not. */
  description: z.string().min(1).max(MAX_DESCRIPTION).optional(),
  /** Questions of the kinds that it was trained on. */
  exampleQuestions: z.array(z.string().min(1).max(MAX_EXAMPLE_LENGTH)).min(1).max(MAX_EXAMPLE_QUESTIONS).optional(),
});

/** Bound the tables of `questionNormalization`, which are applied to every question. */
const MAX_PHRASES = 1000;
const MAX_PHRASE_LENGTH = 100;

/** In characters; public chat templates have at most 10,000. */
const MAX_TEMPLATE_LENGTH = 200_000;

/** Words in lower case without surrounding punctuation, separated by single spaces. */
const phrase = z
  .string()
  .max(MAX_PHRASE_LENGTH)
  .regex(/^[^\s\p{Lu}]+( [^\s\p{Lu}]+)*$/u, "expected words in lower case, separated by single spaces");

/** How questions are rewritten for a model that knows only one spelling and no small talk. */
const questionNormalization = z.strictObject({
  /** Phrases that are removed at the start and the end of a question, such as `can you tell me`. */
  smallTalk: z.array(phrase).max(MAX_PHRASES).optional(),
  /** Replacements of words, such as `colour` by `color`; a word that is replaced by `""` is removed. */
  spelling: z
    .record(phrase, z.union([phrase, z.literal("")]))
    .refine((words) => Object.keys(words).length <= MAX_PHRASES, `expected at most ${MAX_PHRASES} words`)
    .optional(),
  /** Whether indirect English questions become direct: `what color the sky is` becomes `what color is the sky`. */
  directWordOrder: z.boolean().optional(),
});

/** The prompt of a task and its default generation options. */
const task = z.strictObject({
  /**
   * Text before the answer; `{question}` is replaced with the question, without its question mark, `{text}` with the
   * question as it was given, and `{medium}` with the visual tokens of the medium, which otherwise precede the text.
   */
  prompt: z.string().refine((text) => text.split("{medium}").length <= 2, "expected {medium} at most once"),
  /** Text between the prompt and the answer: empty, or a space after a prompt in words. */
  answerPrefix: z.string(),
  generation: z.strictObject({
    maxNewTokens: size.optional(),
    beams: size.optional(),
    lengthPenalty: z.number().optional(),
  }),
  /** Default: questions are used as they are. */
  questionNormalization: questionNormalization.optional(),
  /** By modality. */
  capabilities: z.partialRecord(z.enum(modalities), capability).optional(),
});

/** How the task of a request without one is inferred from its prompt (docs/clients.md). */
export const chatSettings = z.strictObject({
  /** Patterns of prompts that request a caption. Default: the table for English, `{default}`. */
  captionPrompts: z.array(z.string().min(1).max(200)).max(500),
});

/** Bounds a text of a chat template's variables. */
const MAX_TOKEN_TEXT = 1000;
const tokenText = z.string().max(MAX_TOKEN_TEXT);

/** How a vision-language model writes conversations. */
const conversation = z.strictObject({
  /** The chat template, in Jinja. */
  template: z.string().min(1).max(MAX_TEMPLATE_LENGTH),
  /** The text with which the template represents a medium. */
  imageToken: tokenText,
  /** What the medium becomes: `{medium}` is replaced with the visual tokens. */
  image: tokenText.refine((text) => text.split("{medium}").length === 2, "expected {medium} once"),
  /** `text`: the template takes contents as one string. Default: as a list of images and texts. */
  content: z.literal("text").optional(),
  /** The template's variables `bos_token` and `eos_token`. Default: empty. */
  startText: tokenText.optional(),
  endText: tokenText.optional(),
  /** Whether the tokenizer adds the start token itself, so that the template's is left out. Default: false. */
  addsStart: z.boolean().optional(),
});

const taskName = z.enum(["caption", "vqa"]);

const adapter = z.strictObject({
  file,
  /** Modality of the encoder whose states it takes. Default: that of `encoder`. */
  modality: z.enum(modalities).optional(),
  /** The tasks that it was trained for. A request without an adapter's name gets the first adapter that fits. */
  tasks: z.array(taskName).min(1),
  /** Number of trained parameters. */
  parameters: size,
});

/** Default of `unfamiliarBelow`. */
export const UNFAMILIAR_BELOW = 0.01;

export const manifestSchema = z.strictObject({
  format: z.literal("epalm-model"),
  version: z.literal(VERSION),
  name: z.string().min(1),
  encoder,
  /** Encoders of further modalities, one per modality. */
  otherEncoders: z.array(encoder).min(1).optional(),
  decoder,
  tasks: z.strictObject({ caption: task, vqa: task }),
  /**
   * Answers are marked as unfamiliar if their familiarity is below this share, which is about the share of false
   * alarms. Default: 0.01.
   */
  unfamiliarBelow: z.number().min(0).max(1).optional(),
  /** Interpretation of prompts. Default: the table for English. */
  chat: chatSettings.optional(),
  /** Only of models with a chat template. */
  conversation: conversation.optional(),
  adapters: z.record(z.string().regex(ADAPTER_NAME), adapter),
  /** Every file of the folder except the manifest. */
  files: z.record(file, z.strictObject({ bytes: size, sha256: z.string().regex(/^[0-9a-f]{64}$/) })),
});

/** Adds the constraints that span several fields. */
const consistentManifest = manifestSchema.superRefine(({ encoder, otherEncoders = [], adapters }, context) => {
  const seen = new Set<Modality>([encoder.modality]);
  for (const [index, { modality }] of otherEncoders.entries()) {
    const path = ["otherEncoders", index, "modality"];
    if (seen.has(modality))
      context.addIssue({
        code: "custom",
        path,
        message: `expected one encoder per modality, got a second one for ${modality}`,
      });
    seen.add(modality);
  }
  for (const [name, { modality = encoder.modality }] of Object.entries(adapters)) {
    const path = ["adapters", name, "modality"];
    if (!seen.has(modality))
      context.addIssue({
        code: "custom",
        path,
        message: `expected a modality of the model's encoders, got ${modality}`,
      });
  }
});

/** The content of `epalm.json`, which describes a model folder (docs/model-folder.md). */
export type Manifest = z.infer<typeof manifestSchema>;
export type EncoderManifest = z.infer<typeof encoder>;
export type DecoderManifest = z.infer<typeof decoder>;
export type Origin = z.infer<typeof origin>;
/** What an adapter is trained for. */
export type TaskName = z.infer<typeof taskName>;
export type TaskManifest = z.infer<typeof task>;
export type QuestionNormalization = z.infer<typeof questionNormalization>;
export type AdapterManifest = z.infer<typeof adapter>;

/**
 * The manifest's JSON schema for editors and other programs, which is stored in `models/manifest.schema.json`.
 *
 * @example
 * ```ts
 * import { writeFileSync } from "node:fs";
 * import { manifestJsonSchema } from "epalm";
 * writeFileSync("manifest.schema.json", JSON.stringify(manifestJsonSchema()));
 * ```
 */
export function manifestJsonSchema(): object {
  return z.toJSONSchema(manifestSchema);
}

/**
 * Reads and checks the `epalm.json` of a folder.
 *
 * @throws not_found; invalid_model, naming the key
 *
 * @example
 * ```ts
 * import { readManifest } from "epalm";
 * const { name, decoder } = readManifest("my-model");
 * console.log(name, decoder.precision);
 * ```
 */
export function readManifest(folder: string): Manifest {
  const path = join(folder, MANIFEST_FILE);
  // If `folder` is a file, the system reports an error for `path` rather than a missing file.
  if (statSync(folder, { throwIfNoEntry: false })?.isFile()) {
    throw unexpected("not_found", folder, "a model folder", "a file");
  }
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) {
    throw new EpalmError("not_found", `${path}: no such file; every model folder contains one`);
  }
  const json = readJsonFile(path, MAX_MANIFEST_BYTES, "invalid_model");
  return parse(consistentManifest, json, path, "invalid_model");
}
