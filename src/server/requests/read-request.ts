import type { FastifyRequest } from "fastify";
import { untilAborted } from "../../core/abort.js";
import { inFlightOf } from "../queue/in-flight.js";
import type { Service } from "../service.js";
import type { JsonBodies } from "./json-body.js";
import { queryFields, RawMedium } from "./raw-medium.js";
import { readCaption, readVqa } from "./read-fields.js";
import { readMultipart } from "./read-multipart.js";

type AskBodies = Pick<JsonBodies, "caption" | "vqa">;

/** @throws FieldError, invalid_option, too_large, overloaded */
export async function readRequest<Kind extends keyof AskBodies>(
  kind: Kind,
  request: FastifyRequest,
  { config, bodies }: Service,
): Promise<AskBodies[Kind]> {
  const { mediaBytes, bodyBytes } = config.limits;
  const { body } = request;
  if (!(body instanceof RawMedium) && !request.isMultipart()) return bodies.read(kind, body, mediaBytes);
  const inFlight = inFlightOf(request);
  const { fields, medium } =
    body instanceof RawMedium
      ? { fields: queryFields(request), medium: { field: "media" as const, bytes: body.bytes } }
      : await untilAborted(readMultipart(request, inFlight, { mediaBytes, bodyBytes }), inFlight.signal);
  const readers: { readonly [Kind in keyof AskBodies]: typeof readCaption | typeof readVqa } = {
    caption: readCaption,
    vqa: readVqa,
  };
  return readers[kind](fields, mediaBytes, medium) as AskBodies[Kind];
}
