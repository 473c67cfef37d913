import type { FastifyRequest } from "fastify";
import { EpalmError, messageOf, tooManyBytes } from "../../core/errors.js";
import { type MediaField, mediaFields } from "../../wire.js";
import { FieldError } from "../http/problem.js";
import type { InFlightRequest } from "../queue/in-flight.js";
import { type FormPart, fieldName, formFields } from "./form-fields.js";
import type { Medium } from "./medium.js";
import { joinPieces } from "./read-body.js";

/** More than the longest list of candidates and all other fields together. */
const MAX_PARTS = 400;

/** Enough for a question in any script, for a long https URL or for a list in JSON. */
const MAX_FIELD_BYTES = 64 * 1024;

/** UTF-16 units. */
const MAX_FIELD_NAME = 100;

/** The fields of a form, in the same types as in JSON, and the file in it. */
export interface Form {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly medium: Medium | undefined;
}

const JSON_TYPE = /^(application|text)\/([\w.-]+\+)?json$/;

export interface FormLimits {
  readonly mediaBytes: number;
  readonly bodyBytes: number;
}

/**
 * Reads a multipart form. `formFields` converts the values, which are not validated here.
 *
 * @param inFlight takes its place in the queue when the form is complete
 * @throws FieldError, invalid_option, too_large, overloaded, aborted
 */
export async function readMultipart(
  request: FastifyRequest,
  inFlight: InFlightRequest,
  limits: FormLimits,
): Promise<Form> {
  const form = new FormReader(inFlight, limits);
  // Every part is a stream, so that its name decides how it is read; the reader's own limits name the field.
  const options = { isPartAFile: () => true, limits: { parts: Infinity, fileSize: Infinity } };
  try {
    for await (const part of request.parts(options)) {
      if (part.type !== "file") continue;
      const open = form.open(part.fieldname, part.filename, part.mimetype);
      for await (const piece of part.file) form.add(open, piece);
      form.close(open);
    }
  } catch (error) {
    if (error instanceof EpalmError && error.code !== "internal") throw error;
    if (request.raw.destroyed && !request.raw.complete) {
      throw new EpalmError("aborted", "the client closed the connection", { cause: error });
    }
    throw new EpalmError("invalid_option", `multipart: ${messageOf(error)}`, { cause: error });
  } finally {
    // Unread data would block the connection and delay the shutdown of the service.
    request.raw.unpipe().resume();
  }
  const fields = formFields(form.parts);
  inFlight.enqueue();
  return { fields, medium: form.medium };
}

/** A part of a form that is being read. */
interface OpenPart {
  readonly name: string;
  readonly kind: "file" | "json" | "text";
  /** The field, if it takes a medium. */
  readonly mediaField: MediaField | undefined;
  readonly isNamed: boolean;
  readonly maxBytes: number;
  readonly pieces: Buffer[];
  bytes: number;
}

/** Collects the parts of a form within its limits. */
class FormReader {
  readonly parts: FormPart[] = [];
  medium: Medium | undefined;
  readonly #inFlight: InFlightRequest;
  readonly #limits: FormLimits;
  #parts = 0;
  #bytes = 0;

  constructor(inFlight: InFlightRequest, limits: FormLimits) {
    this.#inFlight = inFlight;
    this.#limits = limits;
  }

  /** @throws invalid_option, too_large */
  open(name: string | undefined, fileName: string | undefined, type: string): OpenPart {
    if (name === undefined || name === "") throw new EpalmError("invalid_option", "multipart: a part has no name");
    if (name.length > MAX_FIELD_NAME) {
      throw new FieldError("too_large", name, `expected a name of at most ${MAX_FIELD_NAME} characters`);
    }
    if (++this.#parts > MAX_PARTS) throw new EpalmError("too_large", `multipart: expected at most ${MAX_PARTS} parts`);
    const mediaField = mediaFields.find((field) => fieldName(name).field === field);
    // Programs that send a medium without a file name give at least its type.
    const isFile = fileName !== undefined || (mediaField !== undefined && !/^text\/plain$|json$/.test(type));
    const isJson = JSON_TYPE.test(type) && !(isFile && mediaField);
    if (isFile && !isJson && !mediaField) {
      throw new FieldError("invalid_option", name, `expected no file; only ${mediaFields.join(", ")} may be files`);
    }
    const kind = isJson ? "json" : isFile ? "file" : "text";
    const maxBytes = mediaField ? this.#limits.mediaBytes : MAX_FIELD_BYTES;
    return { name, kind, mediaField, isNamed: Boolean(fileName), maxBytes, pieces: [], bytes: 0 };
  }

  /** @throws too_large, overloaded */
  add(part: OpenPart, piece: Buffer): void {
    part.bytes += piece.length;
    this.#bytes += piece.length;
    if (part.bytes > part.maxBytes) {
      throw new FieldError("too_large", part.mediaField ?? part.name, `expected at most ${part.maxBytes} bytes`);
    }
    const { bodyBytes } = this.#limits;
    if (this.#bytes > bodyBytes) throw tooManyBytes("body", bodyBytes);
    this.#inFlight.reserve(piece.length);
    part.pieces.push(piece);
  }

  /** @throws invalid_option */
  close({ name, kind, mediaField, isNamed, pieces, bytes }: OpenPart): void {
    // Browsers send an empty part if no file was chosen.
    if (kind === "file" && bytes === 0 && !isNamed) return;
    const whole = joinPieces(pieces);
    const text = kind === "file" ? undefined : utf8(whole);
    if (text !== undefined && (bytes <= MAX_FIELD_BYTES || !mediaField)) {
      this.parts.push({ name, text, isJson: kind === "json" });
      return;
    }
    if (!mediaField) throw new FieldError("invalid_option", name, "expected text in UTF-8");
    if (text !== undefined) {
      const message = `expected at most ${MAX_FIELD_BYTES} bytes of text; send larger media with a file name`;
      throw new FieldError("too_large", mediaField, message);
    }
    if (this.medium) {
      const message = `expected one medium, got ${this.medium.field} and ${mediaField}`;
      throw new FieldError("invalid_option", "media", message);
    }
    this.medium = { field: mediaField, bytes: whole };
  }
}

/** The text, or undefined if the bytes are not UTF-8. */
function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
