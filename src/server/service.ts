import type { FastifyReply } from "fastify";
import { attribute, describeSpan } from "../core/trace.js";
import type { Modality } from "../index.js";
import type { FrameImages } from "../media/read-media.js";
import type { ListAnswer, TextAnswer } from "../wire.js";
import { type AnswerContext, answerAsk } from "./answer.js";
import type { ServerConfig } from "./config.js";
import { FieldError } from "./http/problem.js";
import { Metrics } from "./metrics.js";
import type { Models } from "./models.js";
import { Admission } from "./queue/admission.js";
import { type InFlightRequest, InFlightRequests } from "./queue/in-flight.js";
import type { AskRequest } from "./requests/ask-request.js";
import { BodyReader } from "./requests/body-reader.js";
import { type GivenMedium, modalityOf, namingMedium, pathOf, type SingleMedium } from "./requests/medium.js";
import { fetchMedium, type RemoteLimits } from "./requests/remote-media.js";
import { ServiceThreads } from "./threads.js";

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

/** Creates what answers requests, without a server. @param models may still be loading */
export function createService(config: ServerConfig, models: Models): Service {
  const admission = new Admission(config.queue, config.limits.bodyBytes);
  const inFlight = new InFlightRequests(admission, config.limits);
  const bodies = new BodyReader();
  const threads = new ServiceThreads(bodies, models);
  const metrics = new Metrics(admission, models, threads);
  return { config, models, admission, inFlight, bodies, metrics, threads };
}

/** A request that can be answered, its place in the queue and the receiver of its text. */
export interface AnswerRequest {
  readonly ask: AskRequest;
  readonly inFlight: InFlightRequest;
  readonly onText: AnswerContext["onText"];
}

/**
 * Fetches the medium, waits for the request's turn, encodes the medium and computes the answer. Everything is cancelled
 * when the signal of the request fires. Errors of the library are rewritten to use the field names of the request.
 */
export async function answerInTurn(
  { config, models, metrics }: Service,
  { ask, inFlight, onText }: AnswerRequest,
): Promise<TextAnswer | ListAnswer> {
  const { medium, fields } = ask;
  const { adapter } = fields;
  const { name, model } = models.get(fields.model);
  const modality = modalityOf(medium);
  expectModality(medium, model.modalities, name);
  const { mediaBytes, answerSeconds } = config.limits;
  const { signal } = inFlight;
  const started = performance.now();
  try {
    const answered = await inFlight.run(
      answerSeconds,
      async () => {
        const limits = { ...config.remoteMedia, maxBytes: mediaBytes };
        const input = await received(medium, limits, signal);
        return { input, media: performance.now() - started };
      },
      async ({ input, media }, queue) => {
        const medium = await model.encode(input, { modality, adapter, signal });
        const { client } = inFlight;
        return answerAsk({ name, medium, client, before: { queue, media }, trust: config, signal, onText }, ask);
      },
    );
    describeSpan({ [attribute.model]: answered.model, [attribute.adapter]: answered.adapter });
    metrics.countAnswer(answered);
    return answered;
  } catch (error) {
    throw namingMedium(error, medium);
  }
}

/** The content of a medium; URLs are fetched one after the other. */
async function received(
  medium: GivenMedium,
  limits: RemoteLimits,
  signal: AbortSignal,
): Promise<Uint8Array | FrameImages> {
  if (!("frames" in medium)) return receivedBytes(medium, limits, signal);
  const frames: Uint8Array[] = [];
  for (const frame of medium.frames) frames.push(await receivedBytes(frame, limits, signal));
  return { frames };
}

/** The content of one medium. */
export async function receivedBytes(
  medium: SingleMedium,
  limits: RemoteLimits,
  signal: AbortSignal,
): Promise<Uint8Array> {
  return "bytes" in medium ? medium.bytes : fetchMedium(medium.address, pathOf(medium), limits, signal);
}

/** @throws FieldError for a modality that the model does not accept */
export function expectModality(medium: GivenMedium, taken: readonly Modality[], model: string): void {
  const modality = modalityOf(medium);
  if (modality === undefined || taken.includes(modality)) return;
  const message =
    "frames" in medium
      ? `expected one image, got ${medium.frames.length}; model '${model}' accepts no video`
      : `model '${model}' accepts ${taken.join(" and ")}, not ${modality}`;
  throw new FieldError("invalid_option", pathOf(medium), message);
}

/** Sets the headers of a response with server-sent events. */
export function eventStreamHeaders(reply: FastifyReply): FastifyReply {
  return reply
    .type("text/event-stream; charset=utf-8")
    .header("cache-control", "no-cache, no-transform")
    .header("x-accel-buffering", "no");
}
