import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { EpalmError } from "../../core/errors.js";
import { failSpan } from "../../core/trace.js";
import type { Admission } from "../queue/admission.js";
import { asEpalmError, errorBody, knownField, problemOf } from "./problem.js";
import { spanOf } from "./request-spans.js";
import { setSecurityHeaders } from "./security-headers.js";

const methods = ["GET", "POST"] as const;

/** Answers every error, including those of fastify, with problem+json. */
export function errorAnswers(app: FastifyInstance, admission: Admission): void {
  app.setErrorHandler((error, request, reply) => {
    const known = isDisconnected(request) ? disconnected() : asEpalmError(error);
    if (known.status >= 500) failSpan(known, spanOf(request));
    // Errors of clients are only of interest for debugging, and the end of a thread is logged once.
    if (known.status >= 500 && known.status !== 503) request.log.error({ err: error }, "failed");
    else request.log.debug({ code: known.code, field: knownField(known) }, "rejected");
    return sendProblem(request, reply, known, admission);
  });
  app.setNotFoundHandler((request, reply) => {
    const [path = ""] = request.url.split("?");
    const allowed = methods.filter((method) => app.hasRoute({ method, url: path }));
    if (allowed.length === 0)
      return sendProblem(request, reply, new EpalmError("not_found", "this path does not exist"));
    reply.header("allow", allowed.join(", "));
    const message = `expected ${allowed.join(" or ")}, got ${request.method}`;
    return sendProblem(request, reply, new EpalmError("method_not_allowed", message));
  });
}

/** Answers errors that fastify finds before it has a route, such as invalid escapes in the path. */
export function answerFrameworkError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const known = asEpalmError(error);
  request.log.debug({ code: known.code }, "rejected");
  // Hooks do not run for these requests.
  reply.header("x-request-id", request.id);
  setSecurityHeaders(reply);
  // The message quotes the path.
  sendProblem(request, reply, new EpalmError(known.code, "the path is not valid"));
}

/** HTTP/1.1 requires the header. Node would answer without a body. */
export function expectHost({ raw, headers }: FastifyRequest): void {
  if (headers.host !== undefined || raw.httpVersion === "1.0") return;
  throw new EpalmError("invalid_option", "headers: expected the header Host");
}

/** Whether the client closed the connection before its body was complete; whatever failed then is a consequence. */
function isDisconnected({ raw }: FastifyRequest): boolean {
  return raw.destroyed && !raw.complete;
}

function disconnected(): EpalmError {
  return new EpalmError("aborted", "the client closed the connection");
}

function sendProblem(
  request: FastifyRequest,
  reply: FastifyReply,
  error: EpalmError,
  admission?: Admission,
): FastifyReply {
  if (error.status === 503 && admission) reply.header("retry-after", admission.retrySeconds);
  const { type, body } = errorBody(request.url, problemOf(error, request.id));
  return reply.status(error.status).type(type).send(body);
}
