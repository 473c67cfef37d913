import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { FastifyBaseLogger } from "fastify";
import { messageOf } from "../core/errors.js";
import { MANIFEST_FILE, type Model } from "../index.js";

/** A model, and the folder that it was loaded from. */
export interface Watched {
  readonly name: string;
  readonly path: string;
  readonly model: Model;
}

/**
 * Looks at model folders every `seconds` and takes adapters that are new or were changed; tells the log of them, and of
 * those that cannot be used. Watching files by events is no use on network file systems and mounted volumes.
 *
 * @returns ends the watching
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
      seen.set(one.name, now);
      await refresh(one, log);
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

async function refresh({ name, model }: Watched, log: FastifyBaseLogger): Promise<void> {
  try {
    const { loaded, removed, refused } = await model.refreshAdapters();
    for (const adapter of loaded) log.info({ model: name, adapter }, "adapter taken");
    for (const adapter of removed) log.info({ model: name, adapter }, "adapter removed");
    for (const { name: adapter, error } of refused) {
      log.error({ model: name, adapter, reason: error.message }, "adapter refused");
    }
  } catch (error) {
    log.error({ model: name, reason: messageOf(error) }, "model folder cannot be read again");
  }
}

/** Changes when the manifest or a file in `adapters/` does. */
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
