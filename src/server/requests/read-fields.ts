import type { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import { issuesOf, safeParse } from "../../core/schema.js";
import { captionRequest, type MediaField, mediaFields, vqaRequest } from "../../wire.js";
import { FieldError } from "../http/problem.js";
import type { CaptionAsk, VqaAsk } from "./ask-request.js";
import { type GivenMedium, givenMedium, type Medium } from "./medium.js";

type MediaTexts = { readonly [Field in MediaField]?: string | undefined };

/**
 * Reads a request of `/caption` from JSON or from the fields of a form.
 *
 * @param maxBytes limit for the medium
 * @param file the medium, if it was sent as a file
 * @throws FieldError, invalid_option, too_large
 */
export function readCaption(fields: unknown, maxBytes: number, file?: Medium): CaptionAsk {
  return { task: "caption", ...withMedium(parseFields(fields, captionRequest), maxBytes, file) };
}

/** Reads a request of `/vqa`; see `readCaption`. */
export function readVqa(fields: unknown, maxBytes: number, file?: Medium): VqaAsk {
  return { task: "vqa", ...withMedium(parseFields(fields, vqaRequest), maxBytes, file) };
}

/** @throws FieldError for the first invalid field */
export function parseFields<T>(body: unknown, schema: z.ZodType<T>): T {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new EpalmError("invalid_option", "body: expected a JSON object or a multipart form");
  }
  const result = safeParse(schema, body);
  if (result.success) return result.data;
  const [issue] = issuesOf(result.error);
  throw new FieldError("invalid_option", issue?.key || "body", issue?.message ?? "invalid value");
}

/** Separates the medium from the other fields. */
function withMedium<Fields extends MediaTexts>(
  { media, image, audio, video, ...fields }: Fields,
  maxBytes: number,
  file: Medium | undefined,
): { readonly fields: Omit<Fields, MediaField>; readonly medium: GivenMedium } {
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
