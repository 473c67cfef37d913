import { type Attributes, type Span, SpanStatusCode, trace } from "@opentelemetry/api";
import { EpalmError } from "./errors.js";

/**
 * Spans of OpenTelemetry. Without an SDK, which whoever runs the process loads, the API neither keeps nor sends any.
 * Spans contain no part of a request, and of an error only its code: a message may quote the request.
 */

/** Gives out the spans of the SDK, also if one is loaded later. */
export const tracer = trace.getTracer("epalm");

/** Attributes of the spans; docs/serving.md describes them. */
export const attribute = {
  model: "epalm.model",
  adapter: "epalm.adapter",
  modality: "epalm.modality",
  /** Media or sequences that a run computed together. */
  batchSize: "epalm.batch_size",
  /** Whether earlier results were used instead of computing them. */
  cacheHit: "epalm.cache_hit",
} as const;

/** Runs work in a span; what the work itself traces becomes a child. The span ends with the work. */
export function traced<T>(name: string, attributes: Attributes, work: (span: Span) => Promise<T>): Promise<T> {
  return tracer.startActiveSpan(name, { attributes }, async (span) => {
    try {
      return await work(span);
    } catch (error) {
      failSpan(error, span);
      throw error;
    } finally {
      span.end();
    }
  });
}

/**
 * Adds a span for work that is over, such as that of another thread.
 *
 * @param from milliseconds since the epoch
 * @param to milliseconds since the epoch
 * @param error makes the span that of a failure
 */
export function addSpan(name: string, attributes: Attributes, from: number, to: number, error?: unknown): void {
  const span = tracer.startSpan(name, { attributes, startTime: from });
  if (error !== undefined) failSpan(error, span);
  span.end(to);
}

/** Adds attributes to the current span. */
export function describeSpan(attributes: Attributes): void {
  trace.getActiveSpan()?.setAttributes(attributes);
}

/** Marks a span, by default the current one, as failed. The attribute is that of OpenTelemetry's conventions. */
export function failSpan(error: unknown, span: Span | undefined = trace.getActiveSpan()): void {
  span?.setStatus({ code: SpanStatusCode.ERROR });
  span?.setAttribute("error.type", error instanceof EpalmError ? error.code : "internal");
}
