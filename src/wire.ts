import { z } from "zod";
import { modalities } from "./core/modality.js";
import { optionEntries, type optionTable } from "./generation/option-table.js";
import { type GenerationOptions, optionSchemas } from "./generation/options.js";

/**
 * Schemas of everything that is sent over HTTP: requests, answers and problems. The server validates with them and
 * publishes them as OpenAPI; the client derives its types from them. Names are in snake_case. Unknown fields are
 * errors.
 */

/** Fields that carry a medium. A field named after a modality sets the modality; `media` lets the content decide. */
export const mediaFields = ["media", ...modalities] as const;
export type MediaField = (typeof mediaFields)[number];

/** Candidates per ranking request; a service may allow fewer. */
export const MAX_CANDIDATES = 256;

/** Questions about one medium in one request; a service may allow fewer. */
export const MAX_QUESTIONS = 64;

/** Length of the name of a model or an adapter, in UTF-16 units. */
const MAX_NAME_LENGTH = 200;

const medium = (taken: string) =>
  z
    .string()
    .min(1)
    .optional()
    .describe(`${taken}: base64, a data URL, or an https URL on a host that the operator allows`);
const name = z.string().min(1).max(MAX_NAME_LENGTH);
const someText = z.string().min(1);

type Table = typeof optionTable;

/** The generation options under their names in requests. */
export const generationFields = Object.fromEntries(
  optionEntries.map(([name, { wire }]) => [wire, optionSchemas[name]]),
) as { readonly [Name in keyof Table as Table[Name]["wire"]]: (typeof optionSchemas)[Name] };

/** What a request asks about the trust in its answers, under the names of requests; see `TrustOptions`. */
export const trustFields = {
  refuse_unfamiliar: z
    .boolean()
    .optional()
    .describe("reject media that are unlike those of the adapter's training with the status 422"),
  min_confidence: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe("replace answers with a smaller confidence by the text that the operator chose; they are not streamed"),
  media_gain: z.boolean().optional().describe("also return what the medium contributes to each answer"),
};

/** The library's names of the trust fields. */
export const trustNames = {
  refuseUnfamiliar: "refuse_unfamiliar",
  minConfidence: "min_confidence",
  mediaGain: "media_gain",
} as const satisfies Readonly<Record<string, keyof typeof trustFields>>;

const requestFields = {
  media: medium("interpreted as the modality of the named adapter; otherwise, detected from the content"),
  image: medium("interpreted as an image"),
  audio: medium("interpreted as audio"),
  video: medium("interpreted as a video"),
  model: name.optional().describe("default: the first model of the service"),
  adapter: name.optional().describe("default: the model's first adapter for the task and the modality"),
  ...generationFields,
  ...trustFields,
  logprobs: z.boolean().optional().describe("return each token with its natural log-probability"),
  stream: z.boolean().optional().describe("stream the answer as server-sent events while the text is generated"),
};

/** `POST /caption`; in a multipart form, the medium is a file. */
export const captionRequest = z.strictObject(requestFields);

/** `POST /vqa` */
export const vqaRequest = z.strictObject({
  ...requestFields,
  question: z
    .union([someText, z.array(someText).min(1).max(MAX_QUESTIONS)], {
      error: `expected a string or a list of 1 to ${MAX_QUESTIONS} strings`,
    })
    .describe(
      "one question, or several about the same medium, which is then encoded once; in a form, repeat `question`, or " +
        "use `question[]`, which is a list even if it appears once",
    ),
  candidates: z
    .array(someText)
    .min(1)
    .max(MAX_CANDIDATES)
    .optional()
    .describe("answers to choose from: they are ranked, and no text is generated"),
  rank_by: z
    .enum(["sum", "mean"])
    .optional()
    .describe("score of a candidate: sum or mean of its tokens' log-probabilities (default: sum)"),
});

export type CaptionRequest = z.infer<typeof captionRequest>;
export type VqaRequest = z.infer<typeof vqaRequest>;

const confidence = z
  .number()
  .min(0)
  .max(1)
  .optional()
  .describe("share of correct answers among those with this probability, if the adapter was calibrated");
const mediaGain = z
  .number()
  .optional()
  .describe("with media_gain: natural log-probability with the medium minus that without it");
const trust = {
  confidence,
  abstained: z.literal(true).optional().describe("the answer was replaced because its confidence is too small"),
  media_gain: mediaGain,
};

const token = z.strictObject({ id: z.int(), text: z.string(), log_prob: z.number() });
const topTokens = z
  .array(token)
  .optional()
  .describe("with top_logprobs: the most probable tokens in this place, best first");

const text = z.strictObject({
  text: z.string(),
  confidence,
  media_gain: mediaGain.describe("candidates only, with media_gain: as for answers"),
  score: z
    .number()
    .describe(
      "determines the order, higher is better: the natural log-probability, length-normalised with beam search; " +
        "for candidates, log_prob or mean_log_prob, as set by rank_by",
    ),
  finish_reason: z
    .enum(["end", "stop", "length"])
    .optional()
    .describe("why the text ended: an end token, a string in `stop`, or `max_tokens`; absent for candidates"),
  tokens: z
    .array(token.extend({ top: topTokens }))
    .optional()
    .describe("with logprobs: the tokens, without the end token"),
  end_top: topTokens.describe(
    "with top_logprobs, if an end token ended the text: the most probable tokens in its place",
  ),
  end_log_prob: z
    .number()
    .optional()
    .describe("with logprobs, if an end token ended the text: its natural log-probability"),
  index: z.int().min(0).optional().describe("candidates only: position in the list of the request"),
  probability: z.number().optional().describe("candidates only: probability among all candidates"),
  log_prob: z
    .number()
    .optional()
    .describe("candidates only: sum of the tokens' natural log-probabilities, including the end token"),
  mean_log_prob: z.number().optional().describe("candidates only: log_prob divided by the number of tokens"),
});

const usage = z.strictObject({ prompt_tokens: z.int(), completion_tokens: z.int() });

const milliseconds = z.number().min(0);
const timings = z
  .strictObject({
    queue: milliseconds,
    media: milliseconds,
    encoder: milliseconds,
    adapter: milliseconds,
    decoder: milliseconds,
  })
  .describe("milliseconds per stage; questions run concurrently, so the longest one counts");

const source = {
  model: z.string(),
  adapter: z.string(),
  modality: z.enum(modalities),
  familiarity: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe("share of validation examples that are less typical than the medium, if the adapter was calibrated"),
  unfamiliar: z
    .boolean()
    .optional()
    .describe("whether familiarity is below the model's threshold: the adapter has not seen media like this one"),
  usage: usage.describe("tokens of candidates count as prompt tokens, because they are not generated"),
  timings,
};

/** Answer of `/caption`, and of `/vqa` with one question. */
export const textAnswer = z.strictObject({ text: z.string(), texts: z.array(text), ...trust, ...source });

/** Answer of `/vqa` with a list of questions. */
export const listAnswer = z.strictObject({
  answers: z.array(z.strictObject({ question: z.string(), text: z.string(), texts: z.array(text), ...trust })),
  ...source,
});

/** Data of the event `text`: the next part of the answer to question `index`, which is 0 for a single question. */
export const textEvent = z.strictObject({ index: z.int().min(0), text: z.string() });

/** Body of every error, in the format of RFC 9457. */
export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  instance: z.string().describe("id of the request, which also appears in the log of the service"),
  code: z.string().describe("error code from the catalogue of the library"),
  field: z.string().optional().describe("the field that caused the error, if there is one"),
  error: z
    .strictObject({
      message: z.string(),
      type: z.string(),
      code: z.string(),
      param: z.string().nullable(),
    })
    .optional()
    .describe("the same error in the format of OpenAI; only under /v1"),
});

/** `GET /v1/models/{id}` in the format of OpenAI; `epalm` holds the properties that this format does not have. */
export const servedModel = z.strictObject({
  id: z.string().describe("`MODEL`, or `MODEL/ADAPTER`, which forces the adapter"),
  object: z.literal("model"),
  created: z.int(),
  owned_by: z.string(),
  epalm: z.strictObject({
    modalities: z.array(z.enum(modalities)).describe("modalities that the model accepts"),
    adapters: z.array(z.strictObject({ name: z.string(), tasks: z.array(z.string()), modality: z.enum(modalities) })),
    capabilities: z
      .array(
        z.strictObject({
          task: z.enum(["caption", "vqa"]),
          modality: z.enum(modalities),
          description: z.string().optional().describe("what the model recognises, and what it does not"),
          example_questions: z.array(z.string()).describe("questions of the kinds that it was trained on"),
        }),
      )
      .describe("what the manifest says that the model can do, for the people who use it"),
  }),
});

/** `GET /v1/models`: the models, each followed by its adapters. */
export const modelList = z.strictObject({ object: z.literal("list"), data: z.array(servedModel) });

/** `GET /samples`: sample media of the models. */
export const sampleList = z.strictObject({
  samples: z.array(
    z.strictObject({
      model: z.string(),
      name: z.string().describe("name of the file"),
      type: z.string().describe("media type"),
      href: z.string().describe("URL of the file, relative to the root of the service"),
      expected: z.string().optional().describe("a correct caption, if the model folder states one"),
      is_correct: z.boolean().optional().describe("whether the model gives a correct caption, if that was tested"),
    }),
  ),
});

export type WireText = z.infer<typeof text>;
export type Usage = z.infer<typeof usage>;
export type WireTimings = z.infer<typeof timings>;
export type TextAnswer = z.infer<typeof textAnswer>;
export type ListAnswer = z.infer<typeof listAnswer>;
export type TextEvent = z.infer<typeof textEvent>;
export type Problem = z.infer<typeof problem>;
export type ModelList = z.infer<typeof modelList>;
export type SampleList = z.infer<typeof sampleList>;

export type GenerationFields = Pick<CaptionRequest, keyof typeof generationFields>;

/** The generation options of a request under the library's names. */
export function generationOptions(fields: GenerationFields): GenerationOptions {
  const given = new Map(Object.entries(fields));
  return Object.fromEntries(optionEntries.map(([name, { wire }]) => [name, given.get(wire)]));
}
