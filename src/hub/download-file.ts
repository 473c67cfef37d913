import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { EpalmError } from "../core/errors.js";
import { TransientFailure } from "../core/retry.js";
import type { HubClient } from "./client.js";
import type { HubFile } from "./listing.js";

export interface DownloadProgress {
  /** Path of the file in its repository. */
  readonly file: string;
  /** Bytes received so far, including those of an earlier attempt. */
  readonly receivedBytes: number;
  /** Size of the file in bytes. */
  readonly totalBytes: number;
}

/** Source, target and expected content of a download. */
export interface Download {
  readonly url: URL;
  readonly target: string;
  readonly file: HubFile;
  /** Subject of messages about the file. */
  readonly subject: string;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
}

/**
 * Downloads a file to `target`, which exists only after all bytes have arrived and the digest has been verified.
 * Until then, received bytes are kept in `<target>.part`, so that the next attempt, even by a later process, requests
 * only the rest.
 *
 * @throws `download_failed`, `not_found`, `aborted`
 */
export async function downloadFile(client: HubClient, download: Download): Promise<void> {
  const part = `${download.target}.part`;
  await mkdir(dirname(part), { recursive: true });
  await client.retrying(() => fetchRest(client, download, part));
  const { algorithm, header } = digestOf(download.file);
  const digest = createHash(algorithm).update(header);
  for await (const chunk of createReadStream(part)) digest.update(chunk);
  if (digest.digest("hex") !== download.file.digest.hex) {
    await rm(part);
    throw new EpalmError(
      "download_failed",
      `${download.subject}: the ${download.file.digest.kind} of the downloaded file is not that of the hub; the file was removed`,
    );
  }
  await rename(part, download.target);
}

/** Git prepends the length of a blob before hashing it. */
function digestOf({ digest, size }: HubFile): { algorithm: string; header: string } {
  return digest.kind === "sha256"
    ? { algorithm: "sha256", header: "" }
    : { algorithm: "sha1", header: `blob ${size}\0` };
}

/** The size of a file in bytes; undefined if there is no such file. */
export async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const stats = await stat(path);
    return stats.isFile() ? stats.size : undefined;
  } catch {
    return undefined;
  }
}

async function fetchRest(client: HubClient, download: Download, part: string): Promise<void> {
  const { file, subject, url } = download;
  const present = (await sizeOf(part)) ?? 0;
  if (present === file.size && present > 0) return;
  const resuming = present > 0 && present < file.size;
  const response = await client.get(url, subject, {
    // A compressed response could not be resumed.
    "accept-encoding": "identity",
    ...(resuming ? { range: `bytes=${present}-` } : {}),
  });
  const resumed = response.headers.get("content-range")?.startsWith(`bytes ${present}-`) ?? false;
  if (response.status !== 200 && !(response.status === 206 && resumed)) {
    await response.body?.cancel();
    await rm(part, { force: true });
    throw new TransientFailure(`${subject}: the hub did not resume the download (${response.status})`);
  }
  const start = response.status === 206 ? present : 0;
  const received = await writeBody(client.body(response, subject), download, part, start);
  if (received < file.size) {
    throw new TransientFailure(`${subject}: cut short, got ${received} of ${file.size} bytes`);
  }
}

/** Writes the body to the part file from byte `start`, which is its current end, and returns its new size. */
async function writeBody(
  body: AsyncIterable<Uint8Array>,
  { file, subject, onProgress }: Download,
  part: string,
  start: number,
): Promise<number> {
  const handle = await open(part, start > 0 ? "a" : "w");
  let received = start;
  try {
    for await (const chunk of body) {
      received += chunk.length;
      if (received > file.size) {
        throw new EpalmError("download_failed", `${subject}: more bytes arrived than the announced ${file.size}`);
      }
      await handle.writeFile(chunk);
      onProgress?.({ file: file.path, receivedBytes: received, totalBytes: file.size });
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return received;
}
