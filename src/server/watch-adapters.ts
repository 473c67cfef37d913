import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { FastifyBaseLogger } from "fastify";
import { EpalmError, messageOf } from "../core/errors.js";
import type { Model } from "../index.js";
import { MANIFEST_FILE } from "../model/manifest.js";

/** A model and the folder from which it was loaded. */
export interface Watched {
  readonly name: string;
  readonly path: string;
  readonly model: Model;
}

/**
 * Checks model folders every `seconds`, loads new and changed adapters, and logs them and the adapters that cannot be
 * used. Polling is used because file system events are unreliable on network file systems and mounted volumes.
 *
 * @returns a function that stops the checks
 */
export function watchAdapters(
  watched: readonly Watched[],
  seconds: number,
  log: FastifyBaseLogger,
): () => Promise<void> {
  const seen = new Map<string, string>();
  let looking = Promise.resolve();
  async function look(): Promise<void> {
    for (const one of watched) {
      const now = fingerprint(one.path);
      if (seen.get(one.name) === now) continue;
      if (await refresh(one, log)) seen.set(one.name, now);
    }
  }
  looking = look();
  const timer = setInterval(() => {
    looking = looking.then(look);
  }, seconds * 1000);
  timer.unref();
  return async () => {
    clearInterval(timer);
    await looking;
  };
}

/** Returns whether the folder was read; if a thread ended meanwhile, it is read again at the next check. */
async function refresh({ name, model }: Watched, log: FastifyBaseLogger): Promise<boolean> {
  try {
    const { loaded, removed, refused } = await model.refreshAdapters();
    for (const adapter of loaded) log.info({ model: name, adapter }, "adapter loaded");
    for (const adapter of removed) log.info({ model: name, adapter }, "adapter removed");
    for (const { name: adapter, error } of refused) {
      log.error({ model: name, adapter, reason: error.message }, "adapter rejected");
    }
  } catch (error) {
    log.error({ model: name, reason: messageOf(error) }, "model folder could not be read");
    return !(error instanceof EpalmError && error.code === "unavailable");
  }
  return true;
}

/** Changes whenever the manifest or a file in `adapters/` changes. */
function fingerprint(path: string): string {
  const files = [join(path, MANIFEST_FILE), ...filesIn(join(path, "adapters"))];
  return files
    .map((file) => {
      const stats = statSync(file, { throwIfNoEntry: false });
      return `${file} ${stats?.mtimeMs} ${stats?.size}`;
    })
    .join("\n");
}

function filesIn(folder: string): string[] {
  const stats = statSync(folder, { throwIfNoEntry: false });
  return stats?.isDirectory()
    ? readdirSync(folder)
        .sort()
        .map((name) => join(folder, name))
    : [];
}
