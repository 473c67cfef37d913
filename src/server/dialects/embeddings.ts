import { z } from "zod";
import { isDataUrl } from "../../core/encoded-bytes.js";
import { withoutNulls } from "../../core/json.js";
import { type MediaField, mediaFields } from "../../wire.js";
import { FieldError } from "../http/problem.js";
import { givenMedium, type SingleMedium } from "../requests/medium.js";
import { parseFields } from "../requests/read-fields.js";

/** `POST /v1/embeddings` in the format of OpenAI, with media in place of texts. */

/** Media of one request; each of them is decoded and encoded. */
const MAX_MEDIA = 64;

const text = z.string().min(1);

/** An object with one medium under the name of its field, as in the API of Jina. */
const medium = z.strictObject(
  Object.fromEntries(mediaFields.map((field) => [field, text.optional()])) as Record<
    MediaField,
    z.ZodOptional<z.ZodString>
  >,
);

const unread = z.unknown().optional().describe("accepted and ignored");

export const embeddingsRequest = z.strictObject({
  model: text.optional().describe("`MODEL`; default: the first model of the service"),
  input: z
    .union(
      [
        text,
        medium,
        z
          .array(z.union([text, medium]))
          .min(1)
          .max(MAX_MEDIA),
      ],
      {
        error: `expected a medium or a list of 1 to ${MAX_MEDIA}: data URLs, URLs, or objects such as {"image": URL}`,
      },
    )
    .describe(
      "media: data URLs, https URLs on permitted hosts, or objects with one of `image`, `audio`, `video`, `media`",
    ),
  encoding_format: z
    .enum(["float", "base64"])
    .optional()
    .describe("default: float; base64 contains float32 in little-endian"),
  dimensions: z.int().min(1).optional().describe("the width of the encoder's states; other numbers are rejected"),
  user: unread,
});

const embedding = z.strictObject({
  object: z.literal("embedding"),
  index: z.int(),
  embedding: z.union([z.array(z.number()), z.string()]),
});

export const embeddingList = z.strictObject({
  object: z.literal("list"),
  data: z.array(embedding).describe("in the order of the input; each has length 1"),
  model: z.string(),
  usage: z
    .strictObject({ prompt_tokens: z.literal(0), total_tokens: z.literal(0) })
    .describe("media have no tokens here"),
});

export type EmbeddingList = z.infer<typeof embeddingList>;

/** The media of a request and the form of the answer. */
export interface EmbeddingsRequest {
  readonly model: string | undefined;
  readonly media: readonly SingleMedium[];
  readonly isBase64: boolean;
  readonly dimensions: number | undefined;
}

/** @param maxBytes limit for each medium @throws FieldError: invalid_option, too_large */
export function readEmbeddings(json: unknown, maxBytes: number): EmbeddingsRequest {
  const { model, input, encoding_format, dimensions } = parseFields(withoutNulls(json), embeddingsRequest);
  const items = Array.isArray(input) ? input : [input];
  const media = items.map((item, index) =>
    mediumOf(item, Array.isArray(input) ? `input[${index}]` : "input", maxBytes),
  );
  return { model, media, isBase64: encoding_format === "base64", dimensions };
}

function mediumOf(item: string | z.infer<typeof medium>, path: string, maxBytes: number): SingleMedium {
  if (typeof item === "string") {
    if (isDataUrl(item) || /^\s*https?:/i.test(item)) return givenMedium("media", item, maxBytes, path);
    const message = "expected a medium as a data URL or a URL, got a text; the models have no encoder of texts";
    throw new FieldError("invalid_option", path, message);
  }
  const given = mediaFields.flatMap((field) => {
    const value = item[field];
    return value === undefined ? [] : [givenMedium(field, value, maxBytes, `${path}.${field}`)];
  });
  const [only] = given;
  if (only && given.length === 1) return only;
  throw new FieldError("invalid_option", path, `expected one of ${mediaFields.join(", ")}, got ${given.length}`);
}

/** @param vectors of length 1 */
export function embeddingAnswer(model: string, vectors: readonly Float32Array[], isBase64: boolean): EmbeddingList {
  const written = (vector: Float32Array) => (isBase64 ? base64Of(vector) : Array.from(vector));
  return {
    object: "list",
    data: vectors.map((vector, index) => ({ object: "embedding", index, embedding: written(vector) })),
    model,
    usage: { prompt_tokens: 0, total_tokens: 0 },
  };
}

/** In little-endian, whatever the order of the machine. */
function base64Of(vector: Float32Array): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [index, value] of vector.entries()) bytes.writeFloatLE(value, index * 4);
  return bytes.toString("base64");
}
