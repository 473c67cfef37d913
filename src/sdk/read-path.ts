import { EpalmError, messageOf } from "../core/errors.js";

/**
 * Reads the bytes of a file. `node:fs` is loaded on first use, so that browsers do not need it; bundlers for browsers
 * replace this module by `read-path-browser.ts` (see `browser` in package.json). The error codes are the same as for a
 * loaded model.
 *
 * @throws not_found; invalid_media if the path is not a regular file or cannot be read; too_large; invalid_option if
 *   the environment has no file system
 */
export async function readPath(path: string | URL, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
  const { promises } = await fileSystem();
  try {
    const found = await promises.stat(path);
    // Reading from a pipe or a device might never end.
    if (!found.isFile()) throw new EpalmError("invalid_media", `${path}: is not a regular file`);
    if (found.size > maxBytes) {
      throw new EpalmError("too_large", `${path}: expected at most ${maxBytes} bytes, got ${found.size}`);
    }
    return await promises.readFile(path, { signal });
  } catch (error) {
    if (error instanceof EpalmError) throw error;
    const isMissing = error instanceof Error && "code" in error && error.code === "ENOENT";
    throw isMissing
      ? new EpalmError("not_found", `${path}: no such file`, { cause: error })
      : new EpalmError("invalid_media", `${path}: cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

async function fileSystem() {
  try {
    return await import("node:fs");
  } catch (error) {
    const message = "media: expected bytes or a Blob, got a path; this environment has no file system";
    throw new EpalmError("invalid_option", message, { cause: error });
  }
}
