import type { FastifyReply, FastifyRequest, FastifyServerOptions } from "fastify";
import { EpalmError, excerpt, messageOf } from "../../core/errors.js";
import type { ServerConfig } from "../config.js";
import { clientAddress } from "./client-address.js";

/**
 * The log of the service. Lines about a request contain only what is listed here, whatever the service, fastify or a
 * plugin passes to the logger, because any other value may contain keys, media, questions or answers.
 */

/** Members of the lines about a request. */
const MEMBERS = ["req", "res", "responseTime", "statusCode", "err", "code", "field"] as const;

/** Messages of the lines about a request; others may quote the request and are replaced. */
const messages = new Set<unknown>([
  "incoming request",
  "request completed",
  "request errored",
  "rejected",
  "failed",
  "stream failed",
  "stream closed prematurely",
  "response terminated with an error with headers already sent",
]);

const OMITTED = "not logged because it may quote the request";

/** Pino's number of the level. */
const DEBUG = 20;

/** Characters of the message of an internal error. */
const MAX_MESSAGE = 500;

/** Codes of errors of sockets and streams whose cause is a client that disconnects. */
const disconnections = new Set<unknown>(["ECONNRESET", "EPIPE", "ERR_STREAM_PREMATURE_CLOSE", "ABORT_ERR"]);

type LoggerOptions = Exclude<FastifyServerOptions["logger"], boolean | undefined>;

/** @param stream receives the lines; default: standard output */
export function loggerOptions(level: ServerConfig["logLevel"], stream: LoggerOptions["stream"]): LoggerOptions {
  return {
    level,
    serializers: { req: describeRequest, res: describeReply, err: describeError },
    hooks: {
      logMethod(values, log, number) {
        // Only the loggers of requests have this binding.
        if (!("reqId" in this.bindings())) return log.apply(this, values);
        const line = requestLine(values);
        const { err } = line[0];
        if (number > DEBUG && err !== undefined && isOfClient(err)) return this.debug(...line);
        return log.apply(this, line);
      },
    },
    ...(stream ? { stream } : {}),
  };
}

function requestLine(values: readonly unknown[]): [{ readonly [member: string]: unknown }, string] {
  const [first, second] = values;
  const given: { readonly [member: string]: unknown } = first instanceof Error ? { err: first } : Object(first);
  const members = typeof first === "string" ? {} : Object.fromEntries(MEMBERS.map((name) => [name, given[name]]));
  const message = typeof first === "string" ? first : second;
  return [members, messages.has(message) ? String(message) : `message ${OMITTED}`];
}

/** Leaves out the address, the headers and the query. */
function describeRequest(request: FastifyRequest): Record<string, unknown> {
  return { method: request.method, route: request.routeOptions.url, ip: clientAddress(request) };
}

/** The name of the key is known only after the first line about a request. */
function describeReply({
  statusCode,
  request,
}: Pick<FastifyReply, "statusCode"> & Partial<Pick<FastifyReply, "request">>): { statusCode: number } {
  return { statusCode, ...(request?.keyName === undefined ? {} : { key: request.keyName }) };
}

/** The message of an error of a client may quote the request. */
function describeError(error: Error) {
  const { name: type, stack = "" } = error;
  const code = "code" in error ? error.code : undefined;
  if (isOfClient(error)) return { type, code, message: OMITTED, stack: "" };
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line));
  return { type, code, message: excerpt(messageOf(error), MAX_MESSAGE), stack: frames.join("\n") };
}

/** Whether the cause of an error is the request or a client that disconnected. */
export function isOfClient(error: unknown): boolean {
  if (error instanceof EpalmError) return error.status < 500;
  if (!(error instanceof Error)) return false;
  if ("statusCode" in error && Number(error.statusCode) < 500) return true;
  return "code" in error && disconnections.has(error.code);
}
