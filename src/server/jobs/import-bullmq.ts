import { EpalmError } from "../../core/errors.js";

/** The optional packages of the queue. */
export interface QueuePackages {
  readonly bullmq: typeof import("bullmq");
  readonly Redis: typeof import("ioredis").Redis;
}

/** Loads BullMQ and its client of Redis. @throws not_found, naming what to install */
export async function importBullMq(): Promise<QueuePackages> {
  try {
    const [bullmq, { Redis }] = await Promise.all([import("bullmq"), import("ioredis")]);
    return { bullmq, Redis };
  } catch (error) {
    const message = "epalm worker requires the packages bullmq and ioredis: npm install bullmq@6 ioredis@5";
    throw new EpalmError("not_found", message, { cause: error });
  }
}
