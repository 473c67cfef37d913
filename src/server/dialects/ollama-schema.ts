import { z } from "zod";
import { optionTable } from "../../generation/option-table.js";
import { dialectReport } from "./openai-schema.js";

/**
 * Schemas of the API of Ollama, as far as it applies to these models. Keys whose value is null are removed before
 * validation. Other keys are accepted and reported in `epalm.ignored`.
 */

const number = z.number().optional();
const integer = z.int().optional();
const name = z.string().min(1).max(200);

/** Ollama's values for "no limit" (negative numbers), "disabled" (0) and "random" (-1) are accepted. */
const options = z
  .looseObject({
    num_predict: integer.describe("as `max_tokens`; negative: the default"),
    temperature: z.number().min(0).max(2).optional(),
    top_k: integer.describe("0 has no effect"),
    top_p: number.describe("0 and 1 have no effect"),
    min_p: number.describe("0 has no effect"),
    repeat_penalty: number.describe("as `repetition_penalty`; 1 and 0 have no effect"),
    frequency_penalty: z.number().min(-2).max(2).optional(),
    presence_penalty: z.number().min(-2).max(2).optional(),
    seed: integer.describe("negative: the default"),
    stop: z.union([z.string(), z.array(z.string())]).optional(),
  })
  .optional()
  .describe("other options are ignored");

const format = z
  .union([z.enum(["", "json"]), z.looseObject({})], { error: 'expected "json" or a JSON schema' })
  .optional()
  .describe("`json`, or a JSON schema: the text is put into a document with one string; other documents are generated");

const common = {
  model: name.describe("`MODEL` or `MODEL/ADAPTER`, with or without the tag `:latest`").optional(),
  stream: z.boolean().optional().describe("default: true"),
  logprobs: z.boolean().optional().describe("return each token with its natural log-probability; in the last part"),
  top_logprobs: z.int().min(0).max(optionTable.topLogprobs.most).optional().describe("requires logprobs"),
  format,
  options,
};

const images = z.array(z.string().min(1)).optional().describe("in base64; several are the frames of a video");

export const ollamaGenerateRequest = z.looseObject({ ...common, prompt: z.string().optional(), images });

const tools = z.array(z.unknown()).max(0, { error: "expected no tools; the models call none" }).optional();

export const ollamaChatRequest = z.looseObject({
  ...common,
  messages: z
    .array(
      z.looseObject({
        role: z.enum(["system", "user", "assistant", "tool", "developer"]),
        content: z.string().optional(),
        images,
      }),
    )
    .describe("the last text and the newest images of the user are used"),
  tools,
});

export const ollamaNameRequest = z.looseObject({ model: name.optional(), name: name.optional() });

export type OllamaOptions = NonNullable<z.infer<typeof options>>;
export type OllamaFormat = z.infer<typeof format>;

const tokenLogprob = z.strictObject({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()) });

const nanoseconds = z.int().min(0).optional();
const answer = {
  model: z.string(),
  created_at: z.string(),
  done: z.boolean(),
  done_reason: z.enum(["stop", "length", "load"]).optional(),
  total_duration: nanoseconds.describe("nanoseconds"),
  load_duration: nanoseconds,
  prompt_eval_count: z.int().optional(),
  prompt_eval_duration: nanoseconds,
  eval_count: z.int().optional(),
  eval_duration: nanoseconds,
  logprobs: z
    .array(tokenLogprob.extend({ top_logprobs: z.array(tokenLogprob) }))
    .optional()
    .describe("with logprobs; in the last part"),
  epalm: dialectReport.optional().describe("in the last part"),
};

export const ollamaGenerateAnswer = z.strictObject({ ...answer, response: z.string() });

export const ollamaChatAnswer = z.strictObject({
  ...answer,
  message: z.strictObject({ role: z.literal("assistant"), content: z.string() }),
});

const details = z.strictObject({
  parent_model: z.string(),
  format: z.string(),
  family: z.string(),
  families: z.array(z.string()),
  parameter_size: z.string(),
  quantization_level: z.string(),
});

const tag = z.strictObject({
  name: z.string(),
  model: z.string(),
  modified_at: z.string(),
  size: z.int(),
  digest: z.string(),
  details,
});

export const ollamaTags = z.strictObject({ models: z.array(tag) });

export const ollamaRunning = z.strictObject({
  models: z.array(tag.extend({ expires_at: z.string(), size_vram: z.int() })),
});

export const ollamaShow = z.strictObject({
  license: z.string(),
  modelfile: z.string(),
  parameters: z.string(),
  template: z.string(),
  modified_at: z.string(),
  details,
  model_info: z.record(z.string(), z.unknown()),
  capabilities: z.array(z.string()),
});

export const ollamaVersion = z.strictObject({ version: z.string() });
export const ollamaError = z.strictObject({ error: z.string() });

export type OllamaTag = z.infer<typeof tag>;
export type OllamaDetails = z.infer<typeof details>;
export type OllamaShow = z.infer<typeof ollamaShow>;
