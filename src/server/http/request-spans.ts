import { type Context, context, propagation, type Span, SpanKind, trace } from "@opentelemetry/api";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { EpalmError } from "../../core/errors.js";
import { failSpan, tracer } from "../../core/trace.js";

declare module "fastify" {
  interface FastifyRequest {
    /** The span of the request, as the parent of those of its stages. */
    traceContext: Context | undefined;
  }
}

/**
 * A span for each request, from its header to the end of its response. It continues the trace of the header
 * `traceparent`, if an SDK is loaded that reads it. The names are those of OpenTelemetry's semantic conventions.
 */
export function requestSpans(app: FastifyInstance): void {
  app.decorateRequest("traceContext", undefined);
  app.addHook("onRequest", async (request, reply) => {
    const { method, routeOptions, headers, id } = request;
    const { url: route } = routeOptions;
    const caller = propagation.extract(context.active(), headers);
    const attributes = {
      "http.request.method": method,
      ...(route === undefined ? {} : { "http.route": route }),
      "epalm.request_id": id,
    };
    const span = tracer.startSpan(`${method} ${route ?? ""}`.trim(), { kind: SpanKind.SERVER, attributes }, caller);
    request.traceContext = trace.setSpan(caller, span);
    reply.raw.once("close", () => {
      if (reply.raw.writableFinished) span.setAttribute("http.response.status_code", reply.statusCode);
      else failSpan(new EpalmError("aborted", "the client closed the connection"), span);
      span.end();
    });
  });
  // A body arrives in the context of its connection, so that only the handler can be run in that of the span.
  app.addHook("preHandler", (request: FastifyRequest, _reply: FastifyReply, done: () => void) => {
    context.with(request.traceContext ?? context.active(), done);
  });
}

/** The span of a request; undefined for errors before the hooks run. */
export function spanOf({ traceContext }: FastifyRequest): Span | undefined {
  return traceContext && trace.getSpan(traceContext);
}
