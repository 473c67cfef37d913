import { createReadStream } from "node:fs";
import type { Readable } from "node:stream";
import { openObject } from "./s3-client.js";
import { isS3 } from "./s3-name.js";

/** Opens a file or an object for reading. Errors about a file are those of the stream. @throws as `openObject` */
export async function openInput(name: string): Promise<Readable> {
  return isS3(name) ? (await openObject(name)).body : createReadStream(name);
}
