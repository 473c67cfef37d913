import { createReadStream } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Readable } from "node:stream";
import type { RunSource } from "../run-medium.js";
import { openObject } from "./s3-client.js";
import { besideS3, isS3 } from "./s3-name.js";

/** Opens a file or an object for reading. Errors about a file are those of the stream. @throws as `openObject` */
export async function openInput(name: string): Promise<Readable> {
  return isS3(name) ? (await openObject(name)).body : createReadStream(name);
}

/** The source of a medium by its name. */
export function sourceOf(name: string): RunSource {
  return isS3(name) ? { kind: "object", name } : { kind: "path", path: name };
}

/** The source of a medium by its path in a table, to which it is relative. */
export function sourceBeside(table: string, path: string): RunSource {
  if (isS3(path)) return sourceOf(path);
  return sourceOf(isS3(table) ? besideS3(table, path) : resolve(dirname(table), path));
}
