import { EpalmError } from "../core/errors.js";

/** What stands for `read-path.ts` in browsers. @throws invalid_option */
export function readPath(): Promise<Uint8Array> {
  const message = "media: there are no files here; expected bytes or a Blob";
  return Promise.reject(new EpalmError("invalid_option", message));
}
