import type { FastifyRequest } from "fastify";
import type { z } from "zod";
import { EpalmError } from "../errors.js";
import { type MediaField, mediaFields } from "../wire.js";
import type { ServerConfig } from "./config.js";
import type { Medium } from "./medium.js";
import { FieldError } from "./problem.js";
import { readMultipart } from "./read-multipart.js";

/** A medium that is there, or that stands behind a text: base64, a data URL or an address. */
export type GivenMedium = Medium | { readonly field: MediaField; readonly text: string };

type MediaTexts = { readonly [Field in MediaField]?: string | undefined };

/**
 * A request's fields, checked, and its one medium; from JSON or a multipart form.
 *
 * @throws FieldError, invalid_option, too_large
 */
export async function readRequest<T extends MediaTexts>(
  request: FastifyRequest,
  schema: z.ZodType<T>,
  { limits }: ServerConfig,
): Promise<{ readonly fields: T; readonly medium: GivenMedium }> {
  const form = request.isMultipart() ? await readMultipart(request, limits.mediaBytes) : undefined;
  const fields = parseFields(form ? form.fields : request.body, schema);
  const media: GivenMedium[] = form?.medium ? [form.medium] : [];
  for (const field of mediaFields) {
    const text = fields[field];
    if (text !== undefined) media.push({ field, text });
  }
  const [medium] = media;
  if (!medium || media.length > 1) {
    const got = media.map(({ field }) => field).join(" and ") || "none";
    throw new FieldError(
      "invalid_option",
      "image",
      `expected one medium (${mediaFields.join(", ")}), got ${got}`,
    );
  }
  return { fields, medium };
}

/** @throws FieldError about the first field that is wrong */
export function parseFields<T>(body: unknown, schema: z.ZodType<T>): T {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new EpalmError("invalid_option", "body: expected a JSON object or a multipart form");
  }
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  if (issue?.code === "unrecognized_keys") {
    const field = [...issue.path, issue.keys[0] ?? ""].join(".");
    throw new FieldError("invalid_option", field, "is not a known field");
  }
  const field =
    issue?.path.map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`)).join("") ?? "";
  throw new FieldError(
    "invalid_option",
    field.replace(/^\./, "") || "body",
    issue?.message ?? "is not valid",
  );
}
