import { shareSignal, untilAborted } from "../../core/abort.js";
import type { ServerConfig } from "../config.js";
import { Models } from "../models.js";
import { createServer, type Server } from "./create-server.js";
import { threadsPerModel } from "./run-server.js";

export interface LocalServiceOptions {
  /** Its address, keys, rate limit, queue and time limits have no effect. */
  readonly config: ServerConfig;
  readonly version: string;
  /** Requests that are in flight at the same time, at most. */
  readonly requests: number;
  /** Total bytes of their bodies, at most, apart from a single body that is larger. */
  readonly bytes: number;
  /** Receives the log lines, as JSON. */
  readonly log: { write(line: string): void };
  readonly signal: AbortSignal;
}

/** An answer of the service. */
export interface LocalAnswer {
  readonly status: number;
  readonly requestId: string;
  /** The body, parsed as JSON. */
  readonly body: unknown;
}

/**
 * The service without a socket: requests pass through the same routes, and are answered like those of clients, with the
 * same bodies and statuses.
 */
export class LocalService {
  readonly #server: Server;
  readonly #models: Models;
  readonly #signal: AbortSignal;

  readonly #closed = new AbortController();

  private constructor(server: Server, models: Models, signal: AbortSignal) {
    this.#server = server;
    this.#models = models;
    const failed = new AbortController();
    void server.threads.watch(server.app.log, this.#closed.signal).then((failure) => failed.abort(failure));
    this.#signal = shareSignal(AbortSignal.any([signal, failed.signal]));
  }

  /** Loads the models. @throws not_found, invalid_model, invalid_adapter */
  static async open({ config, version, requests, bytes, log, signal }: LocalServiceOptions): Promise<LocalService> {
    const models = new Models();
    const settings = withoutClients(config, requests, bytes);
    const server = await createServer({ config: settings, models, version, log });
    try {
      await models.load(settings, settings.threads ?? threadsPerModel(settings));
      return new LocalService(server, models, signal);
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /**
   * Answers a request with a JSON body.
   *
   * @throws aborted if the signal fires; internal if a worker thread ended and could not be replaced
   */
  async post(path: string, body: string): Promise<LocalAnswer> {
    const headers = { host: "localhost", "content-type": "application/json" };
    const answering = this.#server.app.inject({ method: "POST", url: path, headers, payload: body });
    const response = await untilAborted(answering, this.#signal);
    const { statusCode, headers: answered, payload } = response;
    return { status: statusCode, requestId: String(answered["x-request-id"]), body: JSON.parse(payload) };
  }

  /** Cancels the requests in flight. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#server.close();
    await this.#models.close();
  }
}

/** Nobody waits for an answer, so a request may wait for many others. */
const ANSWER_SECONDS = 24 * 60 * 60;

/** Cancels requests at the end without waiting for them. */
const GRACE_SECONDS = 0.001;

/** Removes what protects a service from its clients: a single client is permitted as many requests as stated. */
function withoutClients(config: ServerConfig, requests: number, bytes: number): ServerConfig {
  // A single client gets three quarters of each limit.
  const places = 2 * requests;
  return {
    ...config,
    keys: {},
    rateLimit: undefined,
    trustProxy: false,
    graceSeconds: GRACE_SECONDS,
    limits: { ...config.limits, answerSeconds: ANSWER_SECONDS },
    queue: {
      ...config.queue,
      running: places,
      waiting: places,
      arriving: places,
      bytes: 2 * (bytes + config.limits.bodyBytes),
    },
  };
}
