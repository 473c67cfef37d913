import { dirname, resolve } from "node:path";
import type { RunSource } from "../run-medium.js";
import { besideS3, isS3 } from "./s3-name.js";

/** Whether a name is a URL rather than a path or an object of S3. Of these, only https URLs are fetched. */
export function isUrl(name: string): boolean {
  return /^https?:\/\//i.test(name);
}

/** The source of a medium by its name. */
export function sourceOf(name: string): RunSource {
  if (isUrl(name)) return { kind: "url", url: name };
  return isS3(name) ? { kind: "object", name } : { kind: "path", path: name };
}

/** The source of a medium by its name in a table, to which paths are relative. */
export function sourceBeside(table: string, name: string): RunSource {
  if (isUrl(name) || isS3(name)) return sourceOf(name);
  return sourceOf(isS3(table) ? besideS3(table, name) : resolve(dirname(table), name));
}
