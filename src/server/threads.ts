import type { FastifyBaseLogger } from "fastify";
import type { EpalmError, ThreadHealth } from "../index.js";
import type { Models } from "./models.js";
import type { BodyReader } from "./requests/body-reader.js";

/** The worker threads of a service and of its loaded models. */
export class ServiceThreads {
  readonly #bodies: BodyReader;
  readonly #models: Models;

  constructor(bodies: BodyReader, models: Models) {
    this.#bodies = bodies;
    this.#models = models;
  }

  /** Each thread once, even if several models share it. */
  get all(): ReadonlySet<ThreadHealth> {
    const models = Array.from(this.#models.entries.values());
    return new Set([this.#bodies.health, ...models.flatMap(({ threads }) => threads)]);
  }

  /** Names of the threads that cannot work at the moment. */
  get unready(): string[] {
    const isUnready = ({ state }: ThreadHealth) => state === "replacing" || state === "failed";
    return Array.from(this.all)
      .filter(isUnready)
      .map(({ name }) => name);
  }

  /** Number of replaced workers by the name of their thread. */
  get replacements(): ReadonlyMap<string, number> {
    const sums = new Map<string, number>();
    for (const { name, replacements } of this.all) sums.set(name, (sums.get(name) ?? 0) + replacements);
    return sums;
  }

  /** Logs the ends of workers until the signal fires. Resolves with the reason when one cannot be replaced. */
  watch(log: FastifyBaseLogger, signal?: AbortSignal): Promise<EpalmError> {
    return new Promise((resolve) => {
      for (const thread of this.all) {
        const { name } = thread;
        const ended = (reason: string) => log.error({ thread: name, reason }, "thread ended; it is being replaced");
        const replaced = () => log.info({ thread: name }, "thread replaced");
        thread.on("ended", ended);
        thread.on("replaced", replaced);
        thread.on("failed", resolve);
        signal?.addEventListener("abort", () => {
          thread.off("ended", ended);
          thread.off("replaced", replaced);
          thread.off("failed", resolve);
        });
      }
    });
  }
}
