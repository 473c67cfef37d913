import type { Job, Processor, UnrecoverableError } from "bullmq";
import type { FastifyBaseLogger } from "fastify";
import { EpalmError, type ErrorCode, messageOf } from "../../core/errors.js";
import type { ListAnswer, TextAnswer } from "../../wire.js";
import { asEpalmError } from "../http/problem.js";
import { InFlightRequest } from "../queue/in-flight.js";
import { checkAsk } from "../requests/check-request.js";
import { answerInTurn, type Service } from "../service.js";
import { type JobMedia, readJob } from "./read-job.js";

/** Failures that a later attempt may not have. */
const transient = new Set<ErrorCode>(["overloaded", "unavailable", "deadline_exceeded"]);

/** Attempts of a job whose producer set no number: with doubled delays, they span about half a minute. */
const MAX_ATTEMPTS = 6;

/** Delay before the second attempt of such a job, which doubles for each further one; milliseconds. */
const RETRY_DELAY = 1000;

/** All jobs share the quotas of one client of the service. */
const CLIENT = "queue";

/** What the answers of jobs need. */
export interface JobContext {
  readonly service: Service;
  readonly media: JobMedia;
  readonly log: FastifyBaseLogger;
  /** Cancels the jobs in flight, which are then run again. */
  readonly signal: AbortSignal;
  readonly errors: {
    readonly UnrecoverableError: typeof UnrecoverableError;
    readonly DelayedError: typeof import("bullmq").DelayedError;
  };
  /** Called when a job is delayed in order to be run again. */
  onRetry(): void;
}

/** The function that BullMQ calls for each job. Its result is that of `POST /caption` or `POST /vqa`. */
export function jobProcessor(context: JobContext): Processor {
  return async (job: Job, token?: string) => {
    try {
      return await answerJob(context, job.data);
    } catch (error) {
      throw await failureOf(context, job, token, asEpalmError(error));
    }
  };
}

async function answerJob({ service, media, signal }: JobContext, data: unknown): Promise<TextAnswer | ListAnswer> {
  const { admission, config, models } = service;
  const inFlight = new InFlightRequest(admission.enter(CLIENT), CLIENT);
  const cancel = () => inFlight.cancel(new EpalmError("overloaded", "the worker is stopping"));
  signal.addEventListener("abort", cancel, { once: true });
  try {
    const ask = await readJob(data, media);
    checkAsk(ask, models.get(ask.fields.model).model, config.limits);
    inFlight.enqueue();
    return await answerInTurn(service, { ask, inFlight, onText: undefined });
  } finally {
    signal.removeEventListener("abort", cancel);
    inFlight.release();
  }
}

/**
 * The error that tells BullMQ what to do: a transient failure is retried as the producer asked, or else by the worker's
 * own rule; any other is final.
 */
async function failureOf(
  { log, errors, onRetry }: JobContext,
  job: Job,
  token: string | undefined,
  error: EpalmError,
): Promise<Error> {
  const { code } = error;
  // The message of an error of a job may quote its data, so only that of an internal error is logged.
  const cause = code === "internal" ? { reason: messageOf(error.cause ?? error) } : {};
  log.warn({ job: job.id, code, attempt: job.attemptsStarted, ...cause }, "job failed");
  const message = `${code}: ${error.message}`;
  if (!transient.has(code)) return new errors.UnrecoverableError(message);
  if ((job.opts.attempts ?? 1) > 1) return new EpalmError(code, message, { cause: error });
  if (job.attemptsStarted >= MAX_ATTEMPTS) return new errors.UnrecoverableError(message);
  await job.moveToDelayed(Date.now() + RETRY_DELAY * 2 ** (job.attemptsStarted - 1), token);
  onRetry();
  return new errors.DelayedError();
}
