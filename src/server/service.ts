import type { FastifyReply } from "fastify";
import type { Modality } from "../index.js";
import type { Usage, WireTimings } from "../wire.js";
import type { AnswerContext } from "./answer.js";
import type { ServerConfig } from "./config.js";
import { FieldError, namingFields } from "./http/problem.js";
import type { Metrics } from "./metrics.js";
import type { Models } from "./models.js";
import type { Admission } from "./queue/admission.js";
import type { InFlightRequest, InFlightRequests } from "./queue/in-flight.js";
import type { BodyReader } from "./requests/body-reader.js";
import type { GivenMedium } from "./requests/medium.js";
import { fetchMedium } from "./requests/remote-media.js";
import type { ServiceThreads } from "./threads.js";

/** The objects that all routes of a server share. */
export interface Service {
  readonly config: ServerConfig;
  readonly models: Models;
  readonly admission: Admission;
  readonly inFlight: InFlightRequests;
  readonly bodies: BodyReader;
  readonly metrics: Metrics;
  readonly threads: ServiceThreads;
}

/** A request that can be answered, as far as the queue and the encoder need it. */
export interface AnswerRequest {
  readonly model: string | undefined;
  readonly adapter: string | undefined;
  readonly medium: GivenMedium;
  readonly inFlight: InFlightRequest;
  readonly onText: AnswerContext["onText"];
}

interface Counted {
  readonly model: string;
  readonly timings: WireTimings;
  readonly usage?: Usage | undefined;
}

/**
 * Fetches the medium, waits for the request's turn, encodes the medium and computes the answer. Everything is cancelled
 * when the signal of the request fires. Errors of the library are rewritten to use the field names of the request.
 */
export async function answerInTurn<T extends Counted>(
  { config, models, metrics }: Service,
  { model: wanted, adapter, medium, inFlight, onText }: AnswerRequest,
  answer: (context: AnswerContext) => Promise<T>,
): Promise<T> {
  const { name, model } = models.get(wanted);
  const modality = medium.field === "media" ? undefined : medium.field;
  if (modality !== undefined) expectModality(modality, model.modalities, name);
  const { mediaBytes, answerSeconds } = config.limits;
  const started = performance.now();
  try {
    const answered = await inFlight.run(
      answerSeconds,
      async () => {
        if ("bytes" in medium) return { bytes: medium.bytes, media: 0 };
        const limits = { ...config.remoteMedia, maxBytes: mediaBytes };
        const bytes = await fetchMedium(medium.address, medium.field, limits, inFlight.signal);
        return { bytes, media: performance.now() - started };
      },
      async ({ bytes, media }, queue) => {
        const medium = await model.encode(bytes, { modality, adapter, signal: inFlight.signal });
        const { client, signal } = inFlight;
        return answer({ name, medium, client, before: { queue, media }, signal, onText });
      },
    );
    metrics.countAnswer(answered.model, answered.timings, answered.usage);
    return answered;
  } catch (error) {
    throw namingFields(error, medium.field);
  }
}

/** @throws FieldError for the field, which is named after the modality */
function expectModality(modality: Modality, taken: readonly Modality[], model: string): void {
  if (taken.includes(modality)) return;
  const message = `model '${model}' accepts ${taken.join(" and ")}, not ${modality}`;
  throw new FieldError("invalid_option", modality, message);
}

/** Sets the headers of a response with server-sent events. */
export function eventStreamHeaders(reply: FastifyReply): FastifyReply {
  return reply
    .type("text/event-stream; charset=utf-8")
    .header("cache-control", "no-cache, no-transform")
    .header("x-accel-buffering", "no");
}
