import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import type { S3Client } from "@aws-sdk/client-s3";
import { abortError } from "../../../core/abort.js";
import { readEnvironment } from "../../../core/environment.js";
import { EpalmError, messageOf, tooManyBytes, unexpected } from "../../../core/errors.js";
import { optionalPackage } from "../../../core/optional-package.js";
import { TransientFailure, withRetries } from "../../../core/retry.js";
import { parseS3 } from "./s3-name.js";

type Sdk = typeof import("@aws-sdk/client-s3");

/** Milliseconds before an object whose transfer was cut is requested again, doubled for each of five retries. */
const RETRY_DELAY_MS = 100;
const CONNECT_TIMEOUT_MS = 10_000;
const IDLE_TIMEOUT_MS = 60_000;

/** Errors that every request would have. */
const ACCOUNT_ERRORS = ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"];

const ignored = (): void => undefined;

let connected: Promise<{ readonly sdk: Sdk; readonly client: S3Client }> | undefined;

/** The client, whose credentials, region and endpoint come from where the SDK looks for them. */
function connect(name: string): NonNullable<typeof connected> {
  connected ??= optionalPackage("@aws-sdk/client-s3", name, () => import("@aws-sdk/client-s3")).then((sdk) => {
    const client = new sdk.S3Client({
      // Stores other than Amazon's usually have no host for each bucket.
      forcePathStyle: readEnvironment().hasS3Endpoint,
      followRegionRedirects: true,
      // Otherwise, the SDK prints what is part of errors.
      logger: { debug: ignored, info: ignored, warn: ignored, error: ignored },
      requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, socketTimeout: IDLE_TIMEOUT_MS },
    });
    return { sdk, client };
  });
  return connected;
}

export interface S3Object {
  readonly body: Readable;
  readonly etag: string | undefined;
  /** In bytes. */
  readonly length: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Begins to read an object, or `range` of it, as in a header.
 *
 * @throws not_found, unauthorized, connection_failed, download_failed; all errors begin with the name
 */
export async function openObject(name: string, range?: string, signal?: AbortSignal): Promise<S3Object> {
  const { bucket: Bucket, key: Key } = parseS3(name);
  const { sdk, client } = await connect(name);
  return naming(name, signal, async () => {
    const command = new sdk.GetObjectCommand({ Bucket, Key, Range: range });
    const options = signal ? { abortSignal: signal } : {};
    const { Body, ETag, ContentLength = 0, Metadata = {} } = await client.send(command, options);
    const body = Body instanceof Readable ? Body : Readable.from([]);
    return { body, etag: ETag, length: ContentLength, metadata: Metadata };
  });
}

/**
 * The bytes of an object, which is requested again if its transfer is cut.
 *
 * @throws too_large for more than `maxBytes`; the errors of `openObject`; aborted
 */
export function readObject(
  name: string,
  { maxBytes, range, signal }: { readonly maxBytes: number; readonly range?: string; readonly signal?: AbortSignal },
): Promise<Uint8Array> {
  const read = async () => {
    const { body, length } = await openObject(name, range, signal);
    if (length > maxBytes) {
      body.destroy();
      throw tooManyBytes(name, maxBytes, length);
    }
    try {
      const chunks: Uint8Array[] = [];
      for await (const chunk of body) chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      if (bytes.length < length) throw unexpected("connection_failed", "content", `${length} bytes`, bytes.length);
      return bytes;
    } catch (error) {
      if (signal?.aborted) throw abortError(signal);
      throw new TransientFailure(`${name}: the transfer was cut: ${messageOf(error)}`);
    }
  };
  return withRetries(read, { delayMs: RETRY_DELAY_MS, signal });
}

/** The length of an object in bytes. @throws the errors of `openObject` */
export async function objectLength(name: string): Promise<number> {
  const { bucket: Bucket, key: Key } = parseS3(name);
  const { sdk, client } = await connect(name);
  const { ContentLength = 0 } = await naming(name, undefined, () =>
    client.send(new sdk.HeadObjectCommand({ Bucket, Key })),
  );
  return ContentLength;
}

/** The keys of the objects below a name, relative to it, in the order of the store. @throws as `openObject` */
export async function* objectsBelow(name: string): AsyncGenerator<string> {
  const { bucket: Bucket, key: Prefix } = parseS3(name);
  const { sdk, client } = await connect(name);
  let ContinuationToken: string | undefined;
  do {
    const command = new sdk.ListObjectsV2Command({ Bucket, Prefix, ContinuationToken });
    const page = await naming(name, undefined, () => client.send(command));
    for (const { Key = "" } of page.Contents ?? []) yield Key.slice(Prefix.length);
    ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined;
  } while (ContinuationToken !== undefined);
}

/** Replaces an object by text, or by the file at a path. @throws the errors of `openObject` */
export async function putObject(
  name: string,
  content: { readonly text: string } | { readonly path: string; readonly length: number },
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { bucket: Bucket, key: Key } = parseS3(name);
  const { sdk, client } = await connect(name);
  const Metadata = { ...metadata };
  const send = async () => {
    // A new stream for each attempt.
    const Body = "text" in content ? content.text : createReadStream(content.path);
    const ContentLength = "text" in content ? Buffer.byteLength(content.text) : content.length;
    const command = new sdk.PutObjectCommand({ Bucket, Key, Body, ContentLength, Metadata });
    try {
      await naming(name, undefined, () => client.send(command));
    } catch (error) {
      // The SDK does not send streams again.
      const isTransient = error instanceof EpalmError && error.code === "connection_failed";
      throw isTransient ? new TransientFailure(error.message) : error;
    }
  };
  await withRetries(send, { delayMs: RETRY_DELAY_MS });
}

/** @throws the errors of `openObject` */
export async function removeObject(name: string): Promise<void> {
  const { bucket: Bucket, key: Key } = parseS3(name);
  const { sdk, client } = await connect(name);
  await naming(name, undefined, () => client.send(new sdk.DeleteObjectCommand({ Bucket, Key })));
}

async function naming<T>(name: string, signal: AbortSignal | undefined, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    if (signal?.aborted) throw abortError(signal);
    throw s3Error(name, error);
  }
}

function s3Error(name: string, error: unknown): EpalmError {
  const { name: kind, $metadata } = error as {
    readonly name?: string;
    readonly $metadata?: { httpStatusCode?: number };
  };
  const status = $metadata?.httpStatusCode;
  const failure = (code: ConstructorParameters<typeof EpalmError>[0], text: string) =>
    new EpalmError(code, `${name}: ${text}`, { cause: error });
  if (kind === "NoSuchBucket") return failure("not_found", `there is no bucket '${parseS3(name).bucket}'`);
  if (status === 404) return failure("not_found", "no such object");
  if (kind === "CredentialsProviderError") {
    return failure("unauthorized", `expected credentials, such as AWS_ACCESS_KEY_ID: ${messageOf(error)}`);
  }
  if (kind !== undefined && ACCOUNT_ERRORS.includes(kind)) {
    return failure("unauthorized", `the credentials were refused: ${kind}: ${messageOf(error)}`);
  }
  if (/^Region (is missing|not accepted)/.test(messageOf(error))) {
    return failure("invalid_option", `expected a region in AWS_REGION: ${messageOf(error)}`);
  }
  if (status === 403) return failure("download_failed", "access is denied (403)");
  if (status !== undefined && status < 500)
    return failure("download_failed", `${kind}: ${messageOf(error)} (${status})`);
  const cause = status === undefined ? messageOf(error) || kind : `${kind}: ${messageOf(error)} (${status})`;
  return failure("connection_failed", `the request failed: ${cause}`);
}
