import { z } from "zod";
import { modalities } from "./core/modality.js";
import { optionEntries, type optionTable } from "./generation/option-table.js";
import { type GenerationOptions, optionSchemas } from "./generation/options.js";

/**
 * What goes over HTTP: requests, answers and problems, as schemas. The server checks with them and publishes them as
 * OpenAPI; clients take their types from them. Names are in snake_case; fields that are not known are errors.
 */

/** Fields that carry a medium: by the name of a modality it is taken for that, as `media` for what its content says. */
export const mediaFields = ["media", ...modalities] as const;
export type MediaField = (typeof mediaFields)[number];

/** Texts that a request gives for ranking; a service may allow fewer. */
export const MAX_CANDIDATES = 256;

/** Questions about one medium in one request; a service may allow fewer. */
export const MAX_QUESTIONS = 64;

/** In UTF-16 units, of names of models and adapters. */
const MAX_NAME_LENGTH = 200;

const medium = (taken: string) =>
  z
    .string()
    .min(1)
    .optional()
    .describe(`${taken}: base64, a data URL, or an https address of a host that the service was told to trust`);
const name = z.string().min(1).max(MAX_NAME_LENGTH);
const someText = z.string().min(1);

type Table = typeof optionTable;

/** The options of generation under their names in requests. */
export const generationFields = Object.fromEntries(
  optionEntries.map(([name, { wire }]) => [wire, optionSchemas[name]]),
) as { readonly [Name in keyof Table as Table[Name]["wire"]]: (typeof optionSchemas)[Name] };

const requestFields = {
  media: medium("taken for what a named adapter takes, or else for what its content says"),
  image: medium("taken for a picture"),
  audio: medium("taken for a sound"),
  video: medium("taken for a video"),
  model: name.optional().describe("default: the first that the service has"),
  adapter: name.optional().describe("default: the model's first for the task and what the medium is taken for"),
  ...generationFields,
  logprobs: z.boolean().optional().describe("tell each token and its natural log-probability"),
  stream: z.boolean().optional().describe("answer in server-sent events, the text as it grows"),
};

/** `POST /caption`; over multipart the medium is a file. */
export const captionRequest = z.strictObject(requestFields);

/** `POST /vqa` */
export const vqaRequest = z.strictObject({
  ...requestFields,
  question: z
    .union([someText, z.array(someText).min(1).max(MAX_QUESTIONS)], {
      error: `expected a text or a list of 1 to ${MAX_QUESTIONS} texts`,
    })
    .describe(
      "one question, or several about the same medium, which is then encoded once; in a form: `question` several " +
        "times, or `question[]`, which is a list even once",
    ),
  candidates: z
    .array(someText)
    .min(1)
    .max(MAX_CANDIDATES)
    .optional()
    .describe("answers to choose from: they are ranked, and nothing is written"),
  rank_by: z
    .enum(["sum", "mean"])
    .optional()
    .describe("with candidates: sum or mean of their tokens' log-probabilities; default sum"),
});

export type CaptionRequest = z.infer<typeof captionRequest>;
export type VqaRequest = z.infer<typeof vqaRequest>;

const text = z.strictObject({
  text: z.string(),
  score: z
    .number()
    .describe(
      "what texts are ordered by, higher is better: natural log-probability, length-normalised where beams are; " +
        "of candidates log_prob or mean_log_prob, as rank_by says",
    ),
  finish_reason: z
    .enum(["end", "stop", "length"])
    .optional()
    .describe("an end token, a text of `stop`, or max_tokens; absent for candidates"),
  tokens: z
    .array(z.strictObject({ id: z.int(), text: z.string(), log_prob: z.number() }))
    .optional()
    .describe("with logprobs: without the end token"),
  end_log_prob: z
    .number()
    .optional()
    .describe("with logprobs, where an end token ended the text: its natural log-probability"),
  index: z.int().min(0).optional().describe("of a candidate in the list that was given"),
  probability: z.number().optional().describe("of a candidate among all candidates"),
  log_prob: z
    .number()
    .optional()
    .describe("of a candidate: sum of its tokens' natural log-probabilities, the end token's included"),
  mean_log_prob: z.number().optional().describe("of a candidate: log_prob per token"),
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
  .describe("milliseconds per stage; several questions overlap: the longest counts");

const source = {
  model: z.string(),
  adapter: z.string(),
  modality: z.enum(modalities),
  usage: usage.describe("candidates are read, not written: they count among the prompt's tokens"),
  timings,
};

/** Answer to `/caption`, and to `/vqa` with one question. */
export const textAnswer = z.strictObject({ text: z.string(), texts: z.array(text), ...source });

/** Answer to `/vqa` with a list of questions. */
export const listAnswer = z.strictObject({
  answers: z.array(z.strictObject({ question: z.string(), text: z.string(), texts: z.array(text) })),
  ...source,
});

/** Data of the event `text`: what has come to the answer of question `index`, which is 0 where there is one. */
export const textEvent = z.strictObject({ index: z.int().min(0), text: z.string() });

/** Every error, as RFC 9457 has it. */
export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  instance: z.string().describe("the request's id, which the service's log has, too"),
  code: z.string().describe("of the library's catalogue of errors"),
  field: z.string().optional().describe("what the error is about, where one field is"),
  error: z
    .strictObject({
      message: z.string(),
      type: z.string(),
      code: z.string(),
      param: z.string().nullable(),
    })
    .optional()
    .describe("the same as OpenAI's clients read it; under /v1 only"),
});

/** `GET /v1/models`, as OpenAI has it; `epalm` says what OpenAI has no word for. */
export const modelList = z.strictObject({
  object: z.literal("list"),
  data: z.array(
    z.strictObject({
      id: z.string(),
      object: z.literal("model"),
      created: z.int(),
      owned_by: z.string(),
      epalm: z.strictObject({
        modalities: z.array(z.enum(modalities)).describe("what the model takes"),
        adapters: z.array(
          z.strictObject({ name: z.string(), tasks: z.array(z.string()), modality: z.enum(modalities) }),
        ),
      }),
    }),
  ),
});

/** `GET /samples`: media that come with the models, for trying them. */
export const sampleList = z.strictObject({
  samples: z.array(
    z.strictObject({
      model: z.string(),
      name: z.string().describe("of the file"),
      type: z.string().describe("media type"),
      href: z.string().describe("where it is, relative to the service's root"),
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

/** The options of generation that a request gives, under the library's names. */
export function generationOptions(fields: GenerationFields): GenerationOptions {
  const given = new Map(Object.entries(fields));
  return Object.fromEntries(optionEntries.map(([name, { wire }]) => [name, given.get(wire)]));
}
