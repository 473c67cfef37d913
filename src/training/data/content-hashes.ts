import { throwIfAborted } from "../../core/abort.js";
import { fileSha256 } from "../../model/model-folder.js";

/** Files read at the same time: enough to hide the latency of a disk, few enough for any limit of open files. */
const AT_ONCE = 16;

/**
 * SHA-256 of each file, by path. Fingerprints contain these instead of paths, so that a data set can be moved or
 * renamed, but not changed, between two sessions of a run.
 *
 * @throws aborted
 */
export async function contentHashes(paths: Iterable<string>, signal?: AbortSignal): Promise<Map<string, string>> {
  const hashes = new Map<string, string>();
  const queue = Array.from(new Set(paths));
  const work = async () => {
    for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
      throwIfAborted(signal, "reading the data set");
      hashes.set(path, await fileSha256(path));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return hashes;
}
