import { availableParallelism } from "node:os";
import { openModelFolder } from "../../index.js";
import { describeServerConfig, type ServerConfig } from "../config.js";
import { Models } from "../models.js";
import { watchAdapters } from "../watch-adapters.js";
import { createServer } from "./create-server.js";

export interface RunOptions {
  readonly config: ServerConfig;
  readonly version: string;
  /** Ends the service: what runs may finish within the grace time. */
  readonly signal: AbortSignal;
  /** Told of the address once all models are loaded. */
  onReady(address: string): void;
}

/**
 * Runs the service until the signal fires. It listens while models are still being loaded, so that whoever looks after
 * it can tell a slow start from a dead process. A folder that is no model is told of before that.
 *
 * @throws what loading a model throws; errors of listening, such as a port that is taken
 */
export async function runServer({ config, version, signal, onReady }: RunOptions): Promise<void> {
  for (const folder of Object.values(config.models)) await openModelFolder(folder, { checksums: false });
  const models = new Models();
  const server = await createServer({ config, models, version });
  const { log } = server.app;
  log.info({ config: JSON.parse(describeServerConfig(config)) }, "starting");
  try {
    const address = await server.listen();
    await models.load(config, config.threads ?? threadsPerModel(config));
    const watched = Array.from(models.entries, ([name, model]) => ({
      name,
      model,
      path: config.models[name] ?? "",
    }));
    const stopWatching =
      config.watchSeconds > 0 ? watchAdapters(watched, config.watchSeconds, log) : async () => undefined;
    onReady(address);
    await fired(signal);
    log.info("ending: takes no more requests, finishes what runs");
    await stopWatching();
  } finally {
    await server.close();
    await models.close();
    log.info("ended");
  }
}

/** Models that compute at once share the cores. */
function threadsPerModel({ models }: ServerConfig): number {
  return Math.max(1, Math.floor(availableParallelism() / Math.max(1, Object.keys(models).length)));
}

function fired(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
