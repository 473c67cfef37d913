import { EpalmError, messageOf } from "../core/errors.js";

/**
 * The bytes of a file. `node:fs` is loaded when it is needed, so that browsers never meet it; bundlers for browsers put
 * `read-path-browser.ts` in this module's place, see `browser` in package.json. Codes are those of the in-process form.
 *
 * @throws not_found; invalid_media if it is no regular file or cannot be read; too_large; invalid_option where there
 *   are no files
 */
export async function readPath(path: string | URL, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
  const { promises } = await fileSystem();
  try {
    const found = await promises.stat(path);
    // Reading a pipe or a device may never end.
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
    const message = "media: there are no files here; expected bytes or a Blob";
    throw new EpalmError("invalid_option", message, { cause: error });
  }
}
