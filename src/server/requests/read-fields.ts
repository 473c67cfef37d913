import type { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import { issuesOf, safeParse } from "../../core/schema.js";
import {
  type CaptionRequest,
  captionRequest,
  type MediaField,
  mediaFields,
  type VqaRequest,
  vqaRequest,
} from "../../wire.js";
import { FieldError } from "../http/problem.js";
import { type GivenMedium, givenMedium, type Medium } from "./medium.js";

/** What a request says, and its one medium. */
export interface ReadRequest<Fields> {
  readonly fields: Omit<Fields, MediaField>;
  readonly medium: GivenMedium;
}

type MediaTexts = { readonly [Field in MediaField]?: string | undefined };

/**
 * What `/caption` is asked, from JSON or the fields of a form.
 *
 * @param maxBytes of the medium
 * @param file the medium, where it came as a file
 * @throws FieldError, invalid_option, too_large
 */
export function readCaption(fields: unknown, maxBytes: number, file?: Medium): ReadRequest<CaptionRequest> {
  return withMedium(parseFields(fields, captionRequest), maxBytes, file);
}

/** What `/vqa` is asked; see `readCaption`. */
export function readVqa(fields: unknown, maxBytes: number, file?: Medium): ReadRequest<VqaRequest> {
  return withMedium(parseFields(fields, vqaRequest), maxBytes, file);
}

/** @throws FieldError about the first field that is wrong */
export function parseFields<T>(body: unknown, schema: z.ZodType<T>): T {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new EpalmError("invalid_option", "body: expected a JSON object or a multipart form");
  }
  const result = safeParse(schema, body);
  if (result.success) return result.data;
  const [issue] = issuesOf(result.error);
  throw new FieldError("invalid_option", issue?.key || "body", issue?.message ?? "is not valid");
}

/** Tells the one medium from the fields beside it. */
function withMedium<Fields extends MediaTexts>(
  { media, image, audio, video, ...fields }: Fields,
  maxBytes: number,
  file: Medium | undefined,
): ReadRequest<Fields> {
  const texts = { media, image, audio, video };
  const named = mediaFields.filter((field) => texts[field] !== undefined);
  const got = [...(file ? [file.field] : []), ...named];
  const [field] = got;
  if (field === undefined || got.length > 1) {
    const message = `expected one medium (${mediaFields.join(", ")}), got ${got.join(" and ") || "none"}`;
    throw new FieldError("invalid_option", "media", message);
  }
  return { fields, medium: file ?? givenMedium(field, texts[field] ?? "", maxBytes) };
}
