import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import cors from "@fastify/cors";
import multipart from "@fastify/multipart";
import fastify, { type FastifyInstance } from "fastify";
import type { ServerConfig } from "../config.js";
import { Keys } from "../keys.js";
import type { Models } from "../models.js";
import type { Admission } from "../queue/admission.js";
import type { InFlightRequests } from "../queue/in-flight.js";
import { limitConnections } from "../queue/limit-connections.js";
import { takeRawMedia } from "../requests/raw-medium.js";
import { takeJsonAsBytes } from "../requests/read-body.js";
import { createService } from "../service.js";
import type { ServiceThreads } from "../threads.js";
import { askRoutes } from "./ask-routes.js";
import { answerClientError, answerServerErrors } from "./client-error.js";
import { docsRoutes } from "./docs-routes.js";
import { answerFrameworkError, errorAnswers, expectHost } from "./errors-plugin.js";
import { loggerOptions } from "./log.js";
import { ollamaRoutes } from "./ollama-routes.js";
import { openAiRoutes } from "./openai-routes.js";
import { MAX_SAMPLES, pageRoutes } from "./page-routes.js";
import { rateLimits } from "./rate-limits.js";
import { requestSpans } from "./request-spans.js";
import { securityHeaders } from "./security-headers.js";
import { statusRoutes } from "./status-routes.js";

export interface ServerOptions {
  readonly config: ServerConfig;
  /** May still be loading; requests are rejected with 503 until then. */
  readonly models: Models;
  /** Version of the package, for the OpenAPI document. */
  readonly version: string;
  /** Receives the log lines, as JSON. Default: standard output. */
  readonly log?: { write(line: string): void } | undefined;
}

/** A server that is not listening yet. */
export interface Server {
  readonly app: FastifyInstance;
  readonly threads: ServiceThreads;
  /** Starts to listen on the host and port of the config. Resolves to the address. */
  listen(): Promise<string>;
  /**
   * Stops accepting requests, waits for running requests for at most the grace time, cancels the remaining ones and
   * closes. The models stay open.
   */
  close(): Promise<void>;
}

/** Interval at which Node checks for requests that arrive too slowly; milliseconds. */
const ARRIVAL_CHECK = 500;

/** How long the remaining responses, such as errors of cancelled requests, may take at the end; milliseconds. */
const LAST_ANSWERS = 1000;

/** Time limit for the headers of a request; seconds. `limits.arrivalSeconds` is the limit for the whole request. */
const HEADER_SECONDS = 10;

/** Builds the service from its parts. */
export async function createServer(options: ServerOptions): Promise<Server> {
  const { config, models } = options;
  const app = bareServer(options);
  const service = createService(config, models);
  const { admission, inFlight, bodies, metrics, threads } = service;
  limitConnections(app.server, config.queue.connections);
  requestSpans(app);
  inFlight.register(app);
  takeJsonAsBytes(app, config.limits.bodyBytes);
  await app.register(multipart);
  takeRawMedia(app, config.limits.mediaBytes);
  app.decorateRequest("keyName", undefined);
  securityHeaders(app);
  errorAnswers(app, admission);
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
    expectHost(request);
  });
  app.addHook("onResponse", async (request, reply) => {
    const route = request.routeOptions.url ?? "none";
    metrics.countRequest(route, request.method, reply.statusCode, reply.elapsedTime / 1000);
  });
  if (config.corsOrigins.length > 0)
    await app.register(cors, {
      origin: corsOrigin(config.corsOrigins),
      exposedHeaders: ["x-request-id", "retry-after"],
      // By default, the header of the request would be repeated. Browsers do not apply `*` to `authorization`.
      allowedHeaders: ["*", "authorization"],
    });
  const limits = await rateLimits(app, config.rateLimit, MAX_SAMPLES + 1);
  const keys = new Keys(config.keys, limits.wrongKeys);
  const reads = [keys.check, limits.reads];
  statusRoutes(app, service, config.openMetrics ? [limits.reads] : reads);
  pageRoutes(app, service, { lists: reads, files: [keys.check, limits.files] });
  await docsRoutes(app, options.version, Object.keys(config.keys).length > 0);
  await app.register(async (asking) => {
    asking.addHook("onRequest", keys.check);
    asking.addHook("onRequest", limits.asks);
    askRoutes(asking, service);
    openAiRoutes(asking, service);
    await asking.register(async (ollama) => ollamaRoutes(ollama, service, options.version));
  });
  return {
    app,
    threads,
    listen: () => app.listen({ host: config.host, port: config.port }),
    close: async () => {
      await closeGently(app, admission, inFlight, config.graceSeconds);
      await bodies.close();
    },
  };
}

/** A server without routes, with the limits and the log of the config. */
export function bareServer({ config, log }: Pick<ServerOptions, "config" | "log">): FastifyInstance {
  const { limits, trustProxy } = config;
  const app = fastify({
    bodyLimit: limits.bodyBytes,
    requestTimeout: limits.arrivalSeconds * 1000,
    // A client that neither sends nor receives anything for this long has disconnected.
    connectionTimeout: (limits.arrivalSeconds + limits.answerSeconds) * 1000,
    http: {
      connectionsCheckingInterval: ARRIVAL_CHECK,
      // Checked by a hook, so that the error is a problem.
      requireHostHeader: false,
      headersTimeout: Math.min(HEADER_SECONDS, limits.arrivalSeconds) * 1000,
    },
    // fastify counts the hops from the connection, which is number 0.
    trustProxy: typeof trustProxy === "number" ? (_address, hop) => hop < trustProxy : trustProxy,
    genReqId: requestId,
    clientErrorHandler: answerClientError,
    // The queue rejects new requests while the server closes, so that running requests are still answered.
    return503OnClosing: false,
    logger: loggerOptions(config.logLevel, log),
    frameworkErrors: answerFrameworkError,
  });
  answerServerErrors(app.server);
  app.removeContentTypeParser("text/plain");
  return app;
}

/** The id that the client sent, if it is safe to log; otherwise a new one. */
function requestId({ headers }: IncomingMessage): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && /^[\w.-]{1,100}$/.test(given) ? given : randomUUID();
}

function corsOrigin(origins: readonly string[]): string | string[] {
  return origins.includes("*") ? "*" : [...origins];
}

async function closeGently(
  app: FastifyInstance,
  admission: Admission,
  inFlight: InFlightRequests,
  graceSeconds: number,
): Promise<void> {
  admission.close();
  const closing = app.close();
  const closed = new AbortController();
  const atMost = (milliseconds: number) =>
    Promise.race([closing, pause(milliseconds, undefined, { signal: closed.signal })]);
  try {
    await Promise.race([inFlight.drained(), atMost(graceSeconds * 1000)]);
    inFlight.cancelAll();
    await atMost(LAST_ANSWERS);
    // Idle connections, which browsers and proxies keep open, and clients that do not read their response.
    app.server.closeAllConnections();
    await closing;
  } finally {
    closed.abort();
  }
}
