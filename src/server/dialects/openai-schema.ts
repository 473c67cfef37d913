import { z } from "zod";
import { optionTable } from "../../generation/option-table.js";
import { captionRequest, generationFields } from "../../wire.js";

/**
 * Schemas of `POST /v1/chat/completions` in the format of OpenAI. Additional options have the same names as in
 * `/caption` and `/vqa`. Keys whose value is null are removed before validation. A key is accepted if its value
 * requests nothing that the models cannot provide; what has no effect is reported in `epalm.ignored`.
 */

const { adapter, logprobs, model, stream } = captionRequest.shape;
const { min_p, stop, top_p } = generationFields;

const url = z.string().min(1);
const unused = z.unknown().optional().describe("accepted and ignored");

/** The only values of a key that request nothing which the models cannot provide. */
export const none = (what: string) => ({ error: `expected no ${what}; the models cannot provide this` });

/** The URL alone is not OpenAI's format, but common programs send it. */
const address = z.union([url, z.looseObject({ url })], {
  error: "expected a URL, or an object with the URL as `url`",
});

export const schemaObject = z.record(z.string(), z.unknown(), { error: "expected a JSON schema as an object" });

/** `strict` has no effect: the text always has its form. */
const responseFormat = z.discriminatedUnion("type", [
  z.looseObject({ type: z.literal("text") }),
  z.looseObject({ type: z.literal("json_object") }),
  z.looseObject({ type: z.literal("json_schema"), json_schema: z.looseObject({ schema: schemaObject }) }),
]);

/** As in vLLM. */
const structuredOutputs = z
  .strictObject({
    json: generationFields.guided_json,
    regex: generationFields.guided_regex,
    choice: generationFields.guided_choice,
  })
  .describe("the same as `guided_json`, `guided_regex` and `guided_choice`");

/** The format is detected from the bytes. OpenAI's clients send it, others do not. */
const audio = z.looseObject({ data: url }, { error: "expected an object with base64 as `data`" });

const file = z.looseObject({ file_data: url }, { error: "expected an object with the content as `file_data`" });

export const contentPart = z.discriminatedUnion("type", [
  z.looseObject({ type: z.enum(["text", "input_text"]), text: z.string() }),
  z.looseObject({ type: z.enum(["image_url", "input_image"]), image_url: address }),
  z.looseObject({ type: z.literal("audio_url"), audio_url: address }),
  z.looseObject({ type: z.literal("input_audio"), input_audio: audio }),
  z.looseObject({ type: z.literal("video_url"), video_url: address }),
  z.looseObject({ type: z.literal("file"), file }),
]);

/** Only models with a chat template use messages of other roles, and of these only texts. */
const otherMessage = z.looseObject({
  role: z.enum(["system", "developer", "assistant", "tool", "function"]),
  content: z.unknown().optional(),
});

const userMessage = <Content extends z.ZodType>(content: Content) =>
  z.looseObject({ role: z.literal("user"), content });

/** Keys that change neither the task nor the text, whatever their value. */
export const ignoredKeys = [
  ...["metadata", "parallel_tool_calls", "prediction", "prompt_cache_key", "prompt_cache_retention"],
  ...["reasoning_effort", "safety_identifier", "service_tier", "store", "user", "verbosity"],
] as const;

type IgnoredKey = (typeof ignoredKeys)[number];

const requestWith = <Content extends z.ZodType>(content: Content) =>
  z.strictObject({
    model: model.describe("`MODEL`, or `MODEL/ADAPTER` to force an adapter; default: the first model of the service"),
    messages: z
      .array(z.discriminatedUnion("role", [userMessage(content), otherMessage]))
      .min(1)
      .describe(
        "the last text and the newest medium of the user are used; by a model with a chat template, all texts of the conversation",
      ),
    ...generationFields,
    max_tokens: z.int().min(1).optional().describe("maximum number of tokens; reduced to the limit of the service"),
    max_completion_tokens: z.int().min(1).optional().describe("the same as `max_tokens`, and preferred to it"),
    top_p: top_p.describe("1 has no effect"),
    min_p: min_p.or(z.literal(0)).describe("0 has no effect"),
    stop: z.union([z.string().min(1).max(optionTable.stop.longest), stop]).optional(),
    stream,
    stream_options: z.looseObject({ include_usage: z.boolean().optional() }).optional(),
    logprobs,
    adapter,
    tools: z.array(z.unknown()).max(0, none("tools")).optional(),
    tool_choice: z.enum(["none", "auto"], none("call of a tool")).optional(),
    functions: z.array(z.unknown()).max(0, none("functions")).optional(),
    function_call: z.enum(["none", "auto"], none("call of a function")).optional(),
    response_format: responseFormat.optional(),
    structured_outputs: structuredOutputs.optional(),
    modalities: z.array(z.literal("text", { error: 'expected "text"; the models write text only' })).optional(),
    ...(Object.fromEntries(ignoredKeys.map((key) => [key, unused])) as Record<IgnoredKey, typeof unused>),
  });

/** As clients may send it, for the documentation. */
export const chatRequest = requestWith(
  z.union([z.string(), z.array(contentPart)], { error: "expected a string or a list of parts" }),
);

/** Like `chatRequest`, but texts have been converted to lists of parts, so that an error names the part. */
export const listedChatRequest = requestWith(z.array(contentPart, { error: "expected a string or a list of parts" }));

export type ChatRequest = z.infer<typeof listedChatRequest>;
export type ContentPart = z.infer<typeof contentPart>;

const finishReason = z.enum(["stop", "length"]);
const topLogprob = z.strictObject({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()) });
export const tokenLogprob = topLogprob.extend({ top_logprobs: z.array(topLogprob) });
const chatLogprobs = z.strictObject({ content: z.array(tokenLogprob), refusal: z.null() });

const chatUsage = z.strictObject({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
});

/** What was made of a request in the format of another program. */
export const dialectReport = z
  .strictObject({
    task: z.enum(["caption", "vqa"]),
    adapter: z.string(),
    familiarity: z.number().min(0).max(1).optional().describe("as in the answers of /vqa, as are the next three"),
    unfamiliar: z.boolean().optional(),
    confidence: z.number().min(0).max(1).optional(),
    abstained: z.literal(true).optional(),
    ignored: z.array(z.string()).describe("paths of the parts of the request that had no effect"),
  })
  .describe("the task and the adapter that were chosen");

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
  epalm: dialectReport,
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
  epalm: dialectReport.optional().describe("in the last chunk"),
});

export type ChatCompletion = z.infer<typeof chatCompletion>;
export type ChatChunk = z.infer<typeof chatChunk>;
export type ChatLogprobs = z.infer<typeof chatLogprobs>;
export type ChatUsage = z.infer<typeof chatUsage>;
export type DialectReport = z.infer<typeof dialectReport>;
