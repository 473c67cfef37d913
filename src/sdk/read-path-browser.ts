import { EpalmError } from "../core/errors.js";

/** Replaces `read-path.ts` in browsers. @throws invalid_option */
export function readPath(): Promise<Uint8Array> {
  const message = "media: expected bytes or a Blob, got a path; this environment has no file system";
  return Promise.reject(new EpalmError("invalid_option", message));
}
