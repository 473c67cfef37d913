import { setTimeout as pause } from "node:timers/promises";
import type { Queue, Worker } from "bullmq";
import type { FastifyBaseLogger } from "fastify";
import { EpalmError, messageOf } from "../../core/errors.js";
import { mediaWarnings } from "../../media/media-warnings.js";
import { openModelFolder } from "../../model/model-folder.js";
import { describeServerConfig, type ServerConfig } from "../config.js";
import { fired, threadsPerModel } from "../http/run-server.js";
import { createStatusServer } from "../http/status-server.js";
import { Models } from "../models.js";
import { createService, type Service } from "../service.js";
import { jobProcessor } from "./answer-job.js";
import { importBullMq, type QueuePackages } from "./import-bullmq.js";
import { addJobMetrics, type JobResult } from "./job-metrics.js";
import { describeQueueAddress, type QueueAddress } from "./queue-address.js";
import { expectFolder } from "./read-job.js";

/** What a worker needs beside the config of the service. */
export interface WorkerSettings {
  readonly address: QueueAddress;
  readonly queueName: string;
  /** The folder to which `path` of jobs refers. */
  readonly mediaFolder: string | undefined;
  /** Jobs per second of all workers of the queue together. Default: no limit. */
  readonly jobsPerSecond: number | undefined;
  /** Seconds after which a job of a worker that was killed is run again. */
  readonly stalledSeconds: number;
  /** Whether to serve `/metrics`, `/healthz` and `/readyz` on the host and port of the config. */
  readonly listens: boolean;
}

export interface RunWorkerOptions {
  readonly config: ServerConfig;
  readonly settings: WorkerSettings;
  /** Stops the worker; jobs in flight may finish within the grace time. */
  readonly signal: AbortSignal;
  /** Called once all models are loaded. @param address of the status server, if there is one */
  onReady(address: string | undefined): void;
}

/** How often a job of killed workers is run again before it fails: such a job may be what kills them. */
const MAX_STALLS = 1;

/** Time for cancelled jobs to be returned to the queue, and for connections to close; milliseconds. */
const LAST_ANSWERS = 2000;

/** Longest delay between attempts to connect to Redis; milliseconds. */
const MAX_RECONNECT_DELAY = 2000;

/** Interval after which the same error of a connection is logged again; milliseconds. */
const REPEATED_ERROR = 60_000;

/**
 * Answers the jobs of a queue until the signal fires. While Redis cannot be reached, the worker waits for it.
 *
 * @throws not_found if BullMQ is not installed; the errors of loading a model and of listening; internal if a worker
 *   thread ended and could not be replaced
 */
export async function runWorker({ config, settings, signal, onReady }: RunWorkerOptions): Promise<void> {
  const packages = await importBullMq();
  if (settings.mediaFolder !== undefined) expectFolder(settings.mediaFolder);
  for (const folder of Object.values(config.models)) await openModelFolder(folder, { checksums: false });
  const models = new Models();
  const service = createService(config, models);
  let jobs: JobQueue | undefined;
  const status = await createStatusServer(service, () => {
    if (!jobs?.isConnected) throw new EpalmError("unavailable", "Redis is not connected");
  });
  const { log } = status;
  const queue = { address: describeQueueAddress(settings.address), name: settings.queueName };
  log.info({ config: JSON.parse(describeServerConfig(config)), queue }, "starting");
  try {
    const address = settings.listens ? await status.listen({ host: config.host, port: config.port }) : undefined;
    for (const warning of await mediaWarnings()) log.warn(warning);
    await models.load(config, config.threads ?? threadsPerModel(config));
    jobs = new JobQueue(packages, service, settings, log);
    onReady(address);
    const failure = await Promise.race([fired(signal), service.threads.watch(log)]);
    log.info("stopping: taking no further jobs, finishing jobs in flight");
    await jobs.close(config.graceSeconds);
    if (failure) throw failure;
  } finally {
    service.admission.close();
    await status.close();
    await service.bodies.close();
    await models.close();
    log.info("stopped");
  }
}

/** The connection of a worker to its queue. */
class JobQueue {
  readonly #connection: import("ioredis").Redis;
  readonly #worker: Worker;
  readonly #queue: Queue;
  readonly #cancel = new AbortController();
  #active = 0;

  constructor(packages: QueuePackages, service: Service, settings: WorkerSettings, log: FastifyBaseLogger) {
    const { bullmq, Redis } = packages;
    const { queueName, jobsPerSecond, mediaFolder, stalledSeconds } = settings;
    const report = errorReporter(log);
    // Commands wait until Redis can be reached again, so that the answer of a job is not lost.
    this.#connection = new Redis({
      ...settings.address,
      maxRetriesPerRequest: null,
      // BullMQ's own copy of the connection would otherwise keep the process alive after the end of the worker.
      retryStrategy: (times) => (this.#cancel.signal.aborted ? null : Math.min(times * 100, MAX_RECONNECT_DELAY)),
    });
    this.#connection.on("error", report);
    this.#queue = new bullmq.Queue(queueName, { connection: this.#connection });
    this.#queue.on("error", report);
    const count = addJobMetrics(
      service.metrics.registry,
      () => this.#active,
      async () => {
        const counts = await this.#queue.getJobCounts("waiting", "prioritized", "delayed");
        return Object.values(counts).reduce((sum, number) => sum + number, 0);
      },
    );
    const process = jobProcessor({
      service,
      media: { folder: mediaFolder, maxBytes: service.config.limits.mediaBytes },
      log,
      signal: this.#cancel.signal,
      errors: bullmq,
      onRetry: () => count("retried"),
    });
    const counted: typeof process = async (...given) => {
      this.#active++;
      try {
        return await process(...given);
      } finally {
        this.#active--;
      }
    };
    this.#worker = new bullmq.Worker(queueName, counted, {
      connection: this.#connection,
      concurrency: jobsAtOnce(service.config),
      lockDuration: stalledSeconds * 1000,
      stalledInterval: stalledSeconds * 1000,
      maxStalledCount: MAX_STALLS,
      ...(jobsPerSecond === undefined ? {} : { limiter: { max: jobsPerSecond, duration: 1000 } }),
    });
    this.#worker.on("error", report);
    this.#count(count);
  }

  /** Whether commands reach Redis at the moment. */
  get isConnected(): boolean {
    return this.#connection.status === "ready";
  }

  /** Takes no further jobs, waits for those in flight, and then cancels the rest, which return to the queue. */
  async close(graceSeconds: number): Promise<void> {
    const closing = this.#worker.close();
    const atMost = (milliseconds: number) => Promise.race([closing, pause(milliseconds, undefined, { ref: false })]);
    // Without Redis, the end of no job can be reported, so there is nothing to wait for.
    if (this.isConnected) await atMost(graceSeconds * 1000);
    this.#cancel.abort();
    await atMost(LAST_ANSWERS);
    if (this.isConnected) await this.#queue.close();
    this.#connection.disconnect();
  }

  #count(count: (result: JobResult) => void): void {
    this.#worker.on("completed", () => count("completed"));
    // A job that will be run again has no time at which it finished.
    this.#worker.on("failed", (job) => count(job && job.finishedOn === undefined ? "retried" : "failed"));
    this.#worker.on("stalled", () => count("retried"));
  }
}

/** Jobs in flight: one batch of the encoder is filled while another is computed. */
function jobsAtOnce({ encoderBatch, queue }: ServerConfig): number {
  return Math.min(2 * encoderBatch, queue.running);
}

/** Logs the messages of errors, which contain no password, while the errors themselves contain commands. */
function errorReporter(log: FastifyBaseLogger): (error: Error) => void {
  const times = new Map<string, number>();
  return (error) => {
    const reason = messageOf(error) || error.name;
    const now = performance.now();
    if (now - (times.get(reason) ?? Number.NEGATIVE_INFINITY) < REPEATED_ERROR) return;
    if (times.size > 100) times.clear();
    times.set(reason, now);
    log.error({ reason }, "queue error");
  };
}
