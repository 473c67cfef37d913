import { posix } from "node:path";
import { EpalmError } from "../../../core/errors.js";

const SCHEME = "s3://";

export interface S3Name {
  readonly bucket: string;
  /** Empty for a bucket. */
  readonly key: string;
}

/** Whether a name is that of an object or of the objects with a prefix, `s3://bucket/key` or `s3://bucket/prefix/`. */
export function isS3(name: string): boolean {
  return name.startsWith(SCHEME);
}

/** Whether a name stands for all objects below it. */
export function isS3Folder(name: string): boolean {
  return isS3(name) && (parseS3(name).key === "" || name.endsWith("/"));
}

/** @throws invalid_option if the name contains no bucket */
export function parseS3(name: string): S3Name {
  const [, bucket, key = ""] = /^s3:\/\/([^/]+)(?:\/(.*))?$/s.exec(name) ?? [];
  if (bucket === undefined) throw new EpalmError("invalid_option", `${name}: expected s3://BUCKET/KEY`);
  return { bucket, key };
}

/** The name of an object by its path relative to another object. */
export function besideS3(name: string, path: string): string {
  const { bucket, key } = parseS3(name);
  return `${SCHEME}${bucket}/${posix.join(posix.dirname(key), path)}`;
}
