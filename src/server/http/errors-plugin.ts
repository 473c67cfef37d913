import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { EpalmError } from "../../core/errors.js";
import type { Admission } from "../queue/admission.js";
import { asEpalmError, openAiProblem, PROBLEM_TYPE, problemOf } from "./problem.js";

const methods = ["GET", "POST"] as const;

/** Answers every error, including those of fastify, with problem+json. */
export function errorAnswers(app: FastifyInstance, admission: Admission): void {
  app.setErrorHandler((error, request, reply) => {
    const known = asEpalmError(error);
    // Errors of clients are only of interest for debugging, and the end of a thread is logged once.
    if (known.status >= 500 && known.status !== 503) request.log.error({ err: error }, "failed");
    else request.log.debug({ code: known.code, detail: known.message }, "rejected");
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

function sendProblem(
  request: FastifyRequest,
  reply: FastifyReply,
  error: EpalmError,
  admission?: Admission,
): FastifyReply {
  if (error.status === 503 && admission) reply.header("retry-after", admission.retrySeconds);
  const problem = problemOf(error, request.id);
  const body = request.url.startsWith("/v1/") ? openAiProblem(problem) : problem;
  return reply.status(error.status).type(PROBLEM_TYPE).send(body);
}
