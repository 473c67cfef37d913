import { availableParallelism } from "node:os";
import { mediaWarnings } from "../../media/media-warnings.js";
import { openModelFolder } from "../../model/model-folder.js";
import { describeServerConfig, type ServerConfig } from "../config.js";
import { Models } from "../models.js";
import { watchAdapters } from "../watch-adapters.js";
import { createServer } from "./create-server.js";

export interface RunOptions {
  readonly config: ServerConfig;
  readonly version: string;
  /** Stops the service; running requests may finish within the grace time. */
  readonly signal: AbortSignal;
  /** Called with the address once all models are loaded. */
  onReady(address: string): void;
}

/**
 * Runs the service until the signal fires. It listens while the models are still being loaded, so that an orchestrator
 * can distinguish a slow start from a dead process. Invalid model folders are reported before that.
 *
 * @throws the errors of loading a model, and of listening, such as a port that is in use; internal if a worker thread
 *   ended and could not be replaced
 */
export async function runServer({ config, version, signal, onReady }: RunOptions): Promise<void> {
  for (const folder of Object.values(config.models)) await openModelFolder(folder, { checksums: false });
  const models = new Models();
  const server = await createServer({ config, models, version });
  const { log } = server.app;
  log.info({ config: JSON.parse(describeServerConfig(config)) }, "starting");
  try {
    const address = await server.listen();
    for (const warning of await mediaWarnings()) log.warn(warning);
    await models.load(config, config.threads ?? threadsPerModel(config));
    for (const [model, { devices }] of models.entries) {
      log.info({ model, encoder: devices.encoder.device, decoder: devices.decoder.device }, "devices");
      for (const { note } of Object.values(devices)) if (note !== undefined) log.warn({ model }, note);
    }
    const watched = Array.from(models.entries, ([name, model]) => ({
      name,
      model,
      path: config.models[name] ?? "",
    }));
    const stopWatching =
      config.watchSeconds > 0 ? watchAdapters(watched, config.watchSeconds, log) : async () => undefined;
    onReady(address);
    const failure = await Promise.race([fired(signal), server.threads.watch(log)]);
    log.info("stopping: rejecting new requests, finishing running requests");
    await stopWatching();
    if (failure) throw failure;
  } finally {
    await server.close();
    await models.close();
    log.info("stopped");
  }
}

/** Divides the cores among the models, because they may compute at the same time. */
export function threadsPerModel({ models }: ServerConfig): number {
  return Math.max(1, Math.floor(availableParallelism() / Math.max(1, Object.keys(models).length)));
}

/** Resolves when the signal fires. */
export function fired(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
