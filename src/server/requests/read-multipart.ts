import type { MultipartFile } from "@fastify/multipart";
import type { FastifyRequest } from "fastify";
import { EpalmError, messageOf } from "../../core/errors.js";
import { type OptionValues, optionEntries } from "../../generation/option-table.js";
import { mediaFields } from "../../wire.js";
import { FieldError } from "../http/problem.js";
import type { InFlightRequest } from "../queue/in-flight.js";
import type { Medium } from "./medium.js";
import { readWhole } from "./read-body.js";

/** More than the longest list of candidates and all other fields together. */
const MAX_FIELDS = 400;

/** Enough for a question in any script, or for a long https URL. */
const MAX_FIELD_BYTES = 64 * 1024;

const MAX_FIELD_NAME_BYTES = 100;

/** Forms have no lists of one element; under this name, a single question is a list. */
export const QUESTION_LIST = "question[]";

const NUMBER = /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** The fields of a form, in the same types as in JSON, and the file in it. */
export interface Form {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly medium: Medium | undefined;
}

const booleans = new Set(["logprobs", "stream", ...optionsOf("boolean")]);
const lists = new Set(["candidates", ...optionsOf("strings")]);
const numbers = new Set(optionsOf("integer", "number", "probability"));

function optionsOf(...types: readonly OptionValues["type"][]): string[] {
  return optionEntries.flatMap(([, { wire, type }]) => (types.includes(type) ? wire : []));
}

/**
 * Reads a multipart form. Values of numeric and boolean fields are converted, repeated fields become lists, and
 * `question[]` is always a list. The values are not validated here.
 *
 * @param inFlight takes its place in the queue when the form is complete
 * @throws FieldError, invalid_option, too_large, overloaded
 */
export async function readMultipart(
  request: FastifyRequest,
  inFlight: InFlightRequest,
  maxBytes: number,
): Promise<Form> {
  const given = new Map<string, string[]>();
  let medium: Medium | undefined;
  const limits = {
    files: 1,
    fields: MAX_FIELDS,
    fieldSize: MAX_FIELD_BYTES,
    fieldNameSize: MAX_FIELD_NAME_BYTES,
    parts: MAX_FIELDS + 1,
  };
  try {
    for await (const part of request.parts({ limits })) {
      if (part.type === "file") {
        medium = await readFile(part, inFlight, maxBytes);
        continue;
      }
      if (part.valueTruncated) {
        throw new FieldError("too_large", part.fieldname, `expected at most ${MAX_FIELD_BYTES} bytes`);
      }
      const text = String(part.value);
      inFlight.reserve(Buffer.byteLength(text));
      given.set(part.fieldname, [...(given.get(part.fieldname) ?? []), text]);
    }
  } catch (error) {
    // Unread data would block the connection and delay the shutdown of the service.
    request.raw.unpipe().resume();
    if (error instanceof EpalmError) throw error;
    if (error instanceof Error && "statusCode" in error) throw error;
    throw new EpalmError("invalid_option", `multipart: ${messageOf(error)}`, { cause: error });
  }
  inFlight.enqueue();
  return { fields: formFields(given), medium };
}

async function readFile(part: MultipartFile, inFlight: InFlightRequest, maxBytes: number): Promise<Medium> {
  const field = mediaFields.find((name) => name === part.fieldname);
  if (!field) {
    throw new FieldError(
      "invalid_option",
      part.fieldname,
      `expected no file; only ${mediaFields.join(", ")} may be files`,
    );
  }
  let length = 0;
  const bytes = await readWhole(part.file, (more) => {
    length += more;
    if (length > maxBytes) throw new FieldError("too_large", field, `expected at most ${maxBytes} bytes`);
    inFlight.reserve(more);
  });
  return { field, bytes };
}

function formFields(given: ReadonlyMap<string, readonly string[]>): Record<string, unknown> {
  const questions = given.get(QUESTION_LIST);
  if (questions && given.has("question")) {
    throw new FieldError("invalid_option", "question", `cannot be combined with ${QUESTION_LIST}`);
  }
  const others = Array.from(given).filter(([name]) => name !== QUESTION_LIST);
  return {
    ...Object.fromEntries(others.map(([name, texts]) => [name, value(name, texts)])),
    ...(questions ? { question: questions } : {}),
  };
}

function value(name: string, texts: readonly string[]): unknown {
  if (lists.has(name)) return texts;
  const [text = ""] = texts;
  if (texts.length > 1) {
    if (name === "question") return texts;
    throw new FieldError("invalid_option", name, `expected one value, got ${texts.length}`);
  }
  // Any other value remains a string, which the schema rejects.
  if (numbers.has(name) && NUMBER.test(text)) return Number(text);
  if (booleans.has(name) && (text === "true" || text === "false")) return text === "true";
  return text;
}
