import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { EpalmError } from "../core/errors.js";
import { TransientFailure } from "../core/retry.js";
import type { HubClient } from "./client.js";
import type { HubFile } from "./listing.js";

export interface DownloadProgress {
  /** Name of the file in its repository. */
  readonly file: string;
  /** Bytes of it that are here, those of an earlier try included. */
  readonly receivedBytes: number;
  /** Its size. */
  readonly totalBytes: number;
}

/** Where to, and what is expected. */
export interface Download {
  readonly url: URL;
  readonly target: string;
  readonly file: HubFile;
  /** Names the file in messages. */
  readonly subject: string;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
}

/**
 * Downloads a file to `target`, which appears only when it is whole and its digest is right. What has
 * arrived of it stays in `<target>.part`, and the next try, also of a later process, needs for the rest.
 * Throws `download_failed`, `not_found` or `aborted`.
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
      `${download.subject}: the ${download.file.digest.kind} of what arrived is not the hub's; it was removed`,
    );
  }
  await rename(part, download.target);
}

/** Git hashes a blob with its length in front. */
function digestOf({ digest, size }: HubFile): { algorithm: string; header: string } {
  return digest.kind === "sha256"
    ? { algorithm: "sha256", header: "" }
    : { algorithm: "sha1", header: `blob ${size}\0` };
}

/** The size of a file, or undefined when there is none. */
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
    // A compressed answer could not be resumed.
    "accept-encoding": "identity",
    ...(resuming ? { range: `bytes=${present}-` } : {}),
  });
  const resumed = response.headers.get("content-range")?.startsWith(`bytes ${present}-`) ?? false;
  if (response.status !== 200 && !(response.status === 206 && resumed)) {
    await response.body?.cancel();
    await rm(part, { force: true });
    throw new TransientFailure(`${subject}: the hub did not resume it (${response.status})`);
  }
  const start = response.status === 206 ? present : 0;
  const received = await writeBody(client.body(response, subject), download, part, start);
  if (received < file.size) {
    throw new TransientFailure(`${subject}: cut short, got ${received} of ${file.size} bytes`);
  }
}

/** Writes what comes at `start` of the part file, which ends there; gives the size it has then. */
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
        throw new EpalmError(
          "download_failed",
          `${subject}: more bytes came than the ${file.size} announced`,
        );
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
