import { z } from "zod";
import { optionTable } from "../../generation/option-table.js";
import { captionRequest, generationFields } from "../../wire.js";

/**
 * Schemas of `POST /v1/chat/completions` in the format of OpenAI, as far as it applies to these models. Additional
 * options have the same names as in `/caption` and `/vqa`. Unsupported fields are rejected by name, never ignored. Keys
 * whose value is null are removed before validation.
 */

const { adapter, logprobs, model, stream } = captionRequest.shape;
const { max_tokens, stop, top_p } = generationFields;

const url = z.string().min(1);

/** Media are always scaled to the input size of the encoder. */
const detail = z.string().optional().describe("accepted and ignored");

/** The URL alone is not OpenAI's format, but common programs send it. */
const address = z.union([url, z.strictObject({ url, detail })], {
  error: "expected a URL, or an object with the URL as `url`",
});

const textPart = z.strictObject({ type: z.literal("text"), text: z.string() });
const imagePart = z.strictObject({ type: z.literal("image_url"), image_url: address });
const audioPart = z.strictObject({
  type: z.literal("input_audio"),
  // The format is detected from the bytes. OpenAI's clients send it, others do not.
  input_audio: z.strictObject({ data: url, format: z.string().optional() }),
});
const videoPart = z.strictObject({ type: z.literal("video_url"), video_url: address });

export const contentPart = z.discriminatedUnion("type", [textPart, imagePart, audioPart, videoPart]);

const message = z.strictObject({
  role: z.enum(["system", "developer", "user", "assistant", "tool", "function"]),
  content: z.union([z.string(), z.array(contentPart)], { error: "expected a string or a list of parts" }),
  name: z.string().optional(),
});

export const chatRequest = z
  .strictObject({
    model,
    messages: z.array(message).min(1).describe("one user message: a medium and an optional question"),
    ...generationFields,
    max_completion_tokens: max_tokens,
    top_p: top_p.describe("1 has no effect"),
    stop: z
      .union([z.string().min(1).max(optionTable.stop.longest), stop])

      .optional(),
    stream,
    stream_options: z.strictObject({ include_usage: z.boolean().optional() }).optional(),
    logprobs,
    top_logprobs: z.literal(0).optional(),
    frequency_penalty: z.literal(0).optional(),
    presence_penalty: z.literal(0).optional(),
    response_format: z.strictObject({ type: z.literal("text") }).optional(),
    user: z.string().optional().describe("accepted and ignored"),
    adapter,
  })
  .describe("A key whose value is null counts as absent.");

export type ChatRequest = z.infer<typeof chatRequest>;
export type ContentPart = z.infer<typeof contentPart>;

const finishReason = z.enum(["stop", "length"]);
const tokenLogprob = z.strictObject({
  token: z.string(),
  logprob: z.number(),
  bytes: z.array(z.int()),
  top_logprobs: z.array(z.never()),
});
const chatLogprobs = z.strictObject({ content: z.array(tokenLogprob), refusal: z.null() });

const chatUsage = z.strictObject({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
});

const common = { id: z.string(), created: z.int(), model: z.string() };

export const chatCompletion = z.strictObject({
  ...common,
  object: z.literal("chat.completion"),
  choices: z.array(
    z.strictObject({
      index: z.int(),
      message: z.strictObject({ role: z.literal("assistant"), content: z.string(), refusal: z.null() }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finishReason,
    }),
  ),
  usage: chatUsage,
});

export const chatChunk = z.strictObject({
  ...common,
  object: z.literal("chat.completion.chunk"),
  choices: z.array(
    z.strictObject({
      index: z.int(),
      delta: z.strictObject({ role: z.literal("assistant").optional(), content: z.string().optional() }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finishReason.nullable(),
    }),
  ),
  usage: chatUsage.nullable().optional(),
});

export type ChatCompletion = z.infer<typeof chatCompletion>;
export type ChatChunk = z.infer<typeof chatChunk>;
export type ChatLogprobs = z.infer<typeof chatLogprobs>;
export type ChatUsage = z.infer<typeof chatUsage>;
