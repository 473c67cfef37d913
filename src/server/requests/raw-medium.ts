import type { IncomingMessage } from "node:http";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { modalities } from "../../core/modality.js";
import { FieldError } from "../http/problem.js";
import { inFlightOf } from "../queue/in-flight.js";
import { formFields } from "./form-fields.js";
import { readWhole } from "./read-body.js";

/** The types of bodies that are a medium: `image/*`, `audio/*` and `video/*`. */
export const rawTypes = modalities.map((modality) => `${modality}/*`);

const RAW_TYPE = new RegExp(`^\\s*(${modalities.join("|")})/[^\\s;]+`, "i");

/** A body that is a medium. */
export class RawMedium {
  constructor(readonly bytes: Uint8Array) {}
}

/** Receives media as bodies. A request takes its place in the queue when its body is complete. */
export function takeRawMedia(app: FastifyInstance, maxBytes: number): void {
  app.addContentTypeParser(RAW_TYPE, async (request: FastifyRequest, payload: IncomingMessage) => {
    // Routes without the `enter` hook, such as unknown paths, do not read the body.
    if (!request.inFlight) return undefined;
    const expectRoom = (length: number) => {
      if (length > maxBytes) throw new FieldError("too_large", "media", `expected at most ${maxBytes} bytes`);
    };
    expectRoom(Number(request.headers["content-length"] ?? 0));
    const inFlight = inFlightOf(request);
    let length = 0;
    // Destroying the stream would prevent the error from being sent to the client.
    const bytes = await readWhole(payload.iterator({ destroyOnReturn: false }), (piece) => {
      length += piece;
      expectRoom(length);
      inFlight.reserve(piece);
    });
    inFlight.enqueue();
    return new RawMedium(bytes);
  });
}

/** The fields of a request whose body is a medium, from its query, where they have the same names as in a form. */
export function queryFields({ query }: FastifyRequest): Record<string, unknown> {
  const parts = Object.entries(query as Record<string, string | string[]>).flatMap(([name, value]) =>
    // Fields without a value are absent, as in forms.
    [value]
      .flat()
      .filter((text) => text !== "")
      .map((text) => ({ name, text, isJson: false })),
  );
  return formFields(parts);
}
