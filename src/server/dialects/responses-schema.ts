import { z } from "zod";
import { captionRequest, generationFields } from "../../wire.js";
import { dialectReport, none, schemaObject, tokenLogprob } from "./openai-schema.js";

/**
 * Schemas of `POST /v1/responses` in the format of OpenAI. Nothing is stored, so that requests cannot refer to earlier
 * ones. Keys whose value is null are removed before validation, and the content of messages is checked like that of
 * `/v1/chat/completions`, of which this API is another spelling.
 */

const { adapter, model, stream } = captionRequest.shape;
const { min_p, top_p, top_logprobs, guided_json: _schema, ...generation } = generationFields;
const { max_tokens: _tokens, n: _texts, ...options } = generation;

/** Keys that change neither the task nor the text, whatever their value. */
export const ignoredResponseKeys = [
  ...["context_management", "include", "max_tool_calls", "metadata", "moderation", "parallel_tool_calls"],
  ...["prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier"],
  ...["service_tier", "store", "stream_options", "truncation", "user"],
] as const;

type IgnoredKey = (typeof ignoredResponseKeys)[number];

const unused = z.unknown().optional().describe("accepted and ignored; responses are never stored");

const inputItem = z.looseObject({
  type: z.literal("message", { error: "expected messages only; the service stores and calls nothing" }).optional(),
  role: z.enum(["user", "assistant", "system", "developer"]),
  content: z.unknown(),
});

const textFormat = z.discriminatedUnion("type", [
  z.looseObject({ type: z.literal("text") }),
  z.looseObject({ type: z.literal("json_object") }),
  z.looseObject({ type: z.literal("json_schema"), schema: schemaObject }),
]);

const stored = none("earlier response; the service stores none");

export const responsesRequest = z.strictObject({
  model: model.describe("`MODEL`, or `MODEL/ADAPTER` to force an adapter; default: the first model of the service"),
  input: z
    .union([z.string(), z.array(inputItem).min(1)], { error: "expected a string or a list of messages" })
    .describe("messages with parts `input_text`, `input_image` (with `image_url`) and `input_file` (with `file_data`)"),
  instructions: z.string().optional().describe("a system message before the others"),
  max_output_tokens: z
    .int()
    .min(1)
    .optional()
    .describe("maximum number of tokens; reduced to the limit of the service"),
  ...options,
  top_p: top_p.describe("1 has no effect"),
  min_p: min_p.or(z.literal(0)).describe("0 has no effect"),
  top_logprobs,
  text: z.looseObject({ format: textFormat.optional() }).optional(),
  stream,
  adapter,
  tools: z.array(z.unknown()).max(0, none("tools")).optional(),
  tool_choice: z.enum(["none", "auto"], none("call of a tool")).optional(),
  background: z.literal(false, none("background; the service stores nothing")).optional(),
  previous_response_id: z.never(stored).optional(),
  conversation: z.never(stored).optional(),
  prompt: z.never(none("stored prompt")).optional(),
  ...(Object.fromEntries(ignoredResponseKeys.map((key) => [key, unused])) as Record<IgnoredKey, typeof unused>),
});

const status = z.enum(["in_progress", "completed", "incomplete"]);

const outputText = z.strictObject({
  type: z.literal("output_text"),
  text: z.string(),
  annotations: z.array(z.never()),
  logprobs: z.array(tokenLogprob),
});

const outputMessage = z.strictObject({
  id: z.string(),
  type: z.literal("message"),
  role: z.literal("assistant"),
  status,
  content: z.array(outputText),
});

export const responseObject = z.strictObject({
  id: z.string(),
  object: z.literal("response"),
  created_at: z.int(),
  status,
  error: z.null(),
  incomplete_details: z.strictObject({ reason: z.literal("max_output_tokens") }).nullable(),
  instructions: z.string().nullable(),
  metadata: z.null(),
  model: z.string(),
  output: z.array(outputMessage),
  parallel_tool_calls: z.literal(false),
  previous_response_id: z.null(),
  store: z.literal(false),
  temperature: z.number().nullable(),
  tool_choice: z.literal("none"),
  tools: z.array(z.never()),
  top_p: z.number().nullable(),
  usage: z
    .strictObject({
      input_tokens: z.int(),
      input_tokens_details: z.strictObject({ cached_tokens: z.literal(0) }),
      output_tokens: z.int(),
      output_tokens_details: z.strictObject({ reasoning_tokens: z.literal(0) }),
      total_tokens: z.int(),
    })
    .nullable(),
  epalm: dialectReport.optional().describe("in the completed response"),
});

export const responseEvent = z
  .looseObject({ type: z.string(), sequence_number: z.int() })
  .describe("the events of OpenAI for one message with one text, from `response.created` to `response.completed`");

export type ResponsesBody = z.infer<typeof responsesRequest>;
export type ResponseObject = z.infer<typeof responseObject>;
export type OutputMessage = z.infer<typeof outputMessage>;
export type OutputText = z.infer<typeof outputText>;
