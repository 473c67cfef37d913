import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import cors from "@fastify/cors";
import multipart from "@fastify/multipart";
import rateLimit from "@fastify/rate-limit";
import fastify, { type FastifyInstance, type FastifyRequest } from "fastify";
import { EpalmError } from "../../core/errors.js";
import type { ServerConfig } from "../config.js";
import { Keys } from "../keys.js";
import { Metrics } from "../metrics.js";
import type { Models } from "../models.js";
import { Admission } from "../queue/admission.js";
import { InFlightRequests } from "../queue/in-flight.js";
import { BodyReader } from "../requests/body-reader.js";
import { takeJsonAsBytes } from "../requests/read-body.js";
import type { Service } from "../service.js";
import { askRoutes } from "./ask-routes.js";
import { chatRoutes } from "./chat-routes.js";
import { answerClientError } from "./client-error.js";
import { docsRoutes } from "./docs-routes.js";
import { errorAnswers } from "./errors-plugin.js";
import { pageRoutes } from "./page-routes.js";
import { securityHeaders } from "./security-headers.js";
import { statusRoutes } from "./status-routes.js";

export interface ServerOptions {
  readonly config: ServerConfig;
  /** May still be loading: requests are then refused with 503. */
  readonly models: Models;
  /** Of the package, for the OpenAPI document. */
  readonly version: string;
  /** Where log lines go, as JSON. Default: standard output. */
  readonly log?: { write(line: string): void } | undefined;
}

/** A server that is not listening yet. */
export interface Server {
  readonly app: FastifyInstance;
  /** Listens as the config says; resolves to the address. */
  listen(): Promise<string>;
  /**
   * Stops accepting, lets what runs finish, and closes. What is not done after the grace time is given up. Models are
   * left alone.
   */
  close(): Promise<void>;
}

/** How often Node looks for requests that arrive too slowly; milliseconds. */
const ARRIVAL_CHECK = 500;

/** How long answers that were given up, and those that take no work, may go on when the service ends; milliseconds. */
const LAST_ANSWERS = 1000;

/** Of headers; seconds. Bodies have `limits.arrivalSeconds`. */
const HEADER_SECONDS = 10;

/** Builds the whole service from its parts, one concern each. */
export async function createServer(options: ServerOptions): Promise<Server> {
  const { config, models } = options;
  const app = bareServer(options);
  const admission = new Admission(config.queue);
  const inFlight = new InFlightRequests(admission);
  const metrics = new Metrics(admission, models);
  const bodies = new BodyReader();
  const service: Service = { config, models, admission, inFlight, bodies, metrics };
  const keys = new Keys(config.keys);

  inFlight.register(app);
  takeJsonAsBytes(app, config.limits.bodyBytes);
  app.decorateRequest("keyName", undefined);
  securityHeaders(app);
  errorAnswers(app, admission);
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
  });
  app.addHook("onResponse", async (request, reply) => {
    const route = request.routeOptions.url ?? "none";
    metrics.countRequest(route, request.method, reply.statusCode, reply.elapsedTime / 1000);
  });
  if (config.corsOrigins.length > 0)
    await app.register(cors, {
      origin: corsOrigin(config.corsOrigins),
      exposedHeaders: ["x-request-id", "retry-after"],
    });
  await app.register(multipart, { throwFileSizeLimit: true });
  statusRoutes(app, service, keys);
  pageRoutes(app, service, keys);
  await docsRoutes(app, options.version, Object.keys(config.keys).length > 0);
  await app.register(async (asking) => {
    asking.addHook("onRequest", keys.check);
    if (config.rateLimit) await asking.register(rateLimit, rateLimitOptions(config.rateLimit));
    askRoutes(asking, service);
    chatRoutes(asking, service);
  });
  return {
    app,
    listen: () => app.listen({ host: config.host, port: config.port }),
    close: async () => {
      await closeGently(app, admission, inFlight, config.graceSeconds);
      await bodies.close();
    },
  };
}

function bareServer({ config, log }: ServerOptions): FastifyInstance {
  const { limits, trustProxy } = config;
  const app = fastify({
    bodyLimit: limits.bodyBytes,
    requestTimeout: limits.arrivalSeconds * 1000,
    // A client that neither sends nor takes anything for so long is gone.
    connectionTimeout: (limits.arrivalSeconds + limits.answerSeconds) * 1000,
    http: {
      connectionsCheckingInterval: ARRIVAL_CHECK,
      headersTimeout: Math.min(HEADER_SECONDS, limits.arrivalSeconds) * 1000,
    },
    trustProxy,
    genReqId: requestId,
    clientErrorHandler: answerClientError,
    // What is on its way is answered while the server closes; new work finds no place.
    return503OnClosing: false,
    logger: {
      level: config.logLevel,
      serializers: { req: describeRequest },
      ...(log ? { stream: log } : {}),
    },
  });
  app.removeContentTypeParser("text/plain");
  return app;
}

/** Without the query, which may hold anything. */
function describeRequest(request: FastifyRequest): Record<string, unknown> {
  const { method, url, ip, keyName } = request;
  return { method, path: url.split("?")[0], ip, key: keyName };
}

/** A caller's own id, if it is one that a log can hold. */
function requestId({ headers }: IncomingMessage): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && /^[\w.-]{1,100}$/.test(given) ? given : randomUUID();
}

function corsOrigin(origins: readonly string[]): string | string[] {
  return origins.includes("*") ? "*" : [...origins];
}

function rateLimitOptions({ requests, seconds }: NonNullable<ServerConfig["rateLimit"]>) {
  return {
    max: requests,
    timeWindow: seconds * 1000,
    keyGenerator: ({ keyName, ip }: FastifyRequest) => keyName ?? ip,
    errorResponseBuilder: () =>
      new EpalmError("rate_limited", `expected at most ${requests} requests within ${seconds} s`),
  };
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
    // Those that are open and ask nothing, as browsers and proxies keep them, and those that take no answer.
    app.server.closeAllConnections();
    await closing;
  } finally {
    closed.abort();
  }
}
