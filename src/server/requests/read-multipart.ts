import type { MultipartFile } from "@fastify/multipart";
import type { FastifyRequest } from "fastify";
import { EpalmError, messageOf } from "../../core/errors.js";
import { type OptionValues, optionEntries } from "../../generation/option-table.js";
import { mediaFields } from "../../wire.js";
import { FieldError } from "../http/problem.js";
import type { InFlightRequest } from "../queue/in-flight.js";
import type { Medium } from "./medium.js";
import { readWhole } from "./read-body.js";

/** Above the longest list of candidates together with everything else. */
const MAX_FIELDS = 400;

/** In bytes: a question in any script, or a long https address. */
const MAX_FIELD_BYTES = 64 * 1024;

const MAX_FIELD_NAME_BYTES = 100;

/** A form has no brackets: by this name even one question is a list. */
export const QUESTION_LIST = "question[]";

const NUMBER = /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** The form as an object like the one that JSON would be, and the file in it. */
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
 * Reads a multipart form. Its fields are texts: those that are numbers or booleans become such, fields that are given
 * several times become lists, and `question[]` is one however often it comes. What they hold is not checked here.
 *
 * @param inFlight takes its place when the form is whole
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
    // What nobody reads would stop the connection, and with it the service's end.
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
    throw new FieldError("invalid_option", part.fieldname, `expected no file; files: ${mediaFields.join(", ")}`);
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
    throw new FieldError("invalid_option", "question", `expected no value beside ${QUESTION_LIST}`);
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
    throw new FieldError("invalid_option", name, `expected once, got ${texts.length} times`);
  }
  // What is not wholly a number or a boolean stays a text, and is refused as one.
  if (numbers.has(name) && NUMBER.test(text)) return Number(text);
  if (booleans.has(name) && (text === "true" || text === "false")) return text === "true";
  return text;
}
