/** Resolves a hub id (`facebook/opt-125m`, `facebook/opt-125m@revision`) to a local folder. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { EpalmError, messageOf } from "../core/errors.js";
import { WEIGHT_FORMATS } from "../formats/weight-formats.js";
import { HubCache } from "./cache.js";
import { HubClient, type HubClientOptions } from "./client.js";
import { type DownloadProgress, downloadFile } from "./download-file.js";
import { type HubId, parseHubId } from "./id.js";
import { fetchCommit, fetchListing, type HubFile } from "./listing.js";
import { selectFiles } from "./select-files.js";

/** Options of a download from the Hugging Face Hub. */
export interface HubOptions extends HubClientOptions {
  /** Folder for downloads. Default: `~/.cache/epalm/hub`. */
  readonly cacheFolder?: string | undefined;
  /** Use only the cache, never the network. Default: false. */
  readonly offline?: boolean | undefined;
  /**
   * Patterns of the files to download; `*` matches any characters except a slash. Default: the files needed for
   * building.
   */
  readonly files?: readonly string[] | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
}

/** A commit of a model and the files of it that are requested. */
interface Snapshot {
  readonly commit: string;
  readonly files: readonly HubFile[];
}

/**
 * The local folder of a model. An existing path is returned unchanged. For a hub id, the files are downloaded into
 * the cache, each is verified against the hub's digest, and their folder is returned.
 *
 * @throws `not_found`, `download_failed`, `invalid_option`, `aborted`
 *
 * @example
 * ```ts
 * import { resolveFolder } from "epalm";
 * const folder = await resolveFolder("facebook/opt-125m", { onProgress: ({ file }) => console.log(file) });
 * ```
 */
export async function resolveFolder(idOrPath: string, options: HubOptions = {}): Promise<string> {
  if (existsSync(idOrPath)) return idOrPath;
  const id = parseHubId(idOrPath);
  if (!id) {
    throw new EpalmError("not_found", `${idOrPath}: no such folder, and not a hub id such as owner/name@revision`);
  }
  const cache = new HubCache(options.cacheFolder ?? defaultCacheFolder(), id);
  try {
    const snapshot = options.offline ? offlineSnapshot(cache, id, options) : download(cache, id, options);
    return cache.snapshotFolder((await snapshot).commit);
  } catch (error) {
    if (error instanceof EpalmError) throw error;
    throw new EpalmError("download_failed", `${id.text}: ${messageOf(error)}`, { cause: error });
  }
}

/** Where downloads are stored unless `EPALM_CACHE` or `HF_HOME` says otherwise. */
export function defaultCacheFolder(): string {
  return join(homedir(), ".cache", "epalm", "hub");
}

async function offlineSnapshot(cache: HubCache, id: HubId, options: HubOptions): Promise<Snapshot> {
  const snapshot = await cachedSnapshot(cache, id, options);
  if (!snapshot) {
    throw new EpalmError("not_found", `${id.text} is not in the cache, and downloads are switched off`);
  }
  const missing = await cache.missing(snapshot.commit, snapshot.files);
  if (missing.length === 0) return snapshot;
  const names = missing.map(({ path }) => path).join(", ");
  throw new EpalmError("not_found", `${id.text}: the cache lacks ${names}, and downloads are switched off`);
}

async function download(cache: HubCache, id: HubId, options: HubOptions): Promise<Snapshot> {
  const client = new HubClient(options);
  const snapshot = await currentSnapshot(client, cache, id, options);
  for (const file of await cache.missing(snapshot.commit, snapshot.files)) {
    const address = file.path.split("/").map(encodeURIComponent).join("/");
    await downloadFile(client, {
      url: client.url(`${id.name}/resolve/${snapshot.commit}/${address}`),
      target: cache.filePath(snapshot.commit, file),
      file,
      subject: `${id.text}: ${file.path}`,
      onProgress: options.onProgress,
    });
  }
  return snapshot;
}

/** A commit never changes, so the hub is asked again only about branches and tags. */
async function currentSnapshot(client: HubClient, cache: HubCache, id: HubId, options: HubOptions): Promise<Snapshot> {
  const pinned = (await cache.commit()) === id.revision ? await cachedSnapshot(cache, id, options) : undefined;
  if (pinned) return pinned;
  const commit = await fetchCommit(client, id);
  const known = await cache.listing(commit);
  const listing = known ?? (await fetchListing(client, id, commit));
  if (!known) await cache.storeListing(commit, listing);
  await cache.storeCommit(commit);
  return { commit, files: wantedFiles(listing, id, options) };
}

async function cachedSnapshot(cache: HubCache, id: HubId, options: HubOptions): Promise<Snapshot | undefined> {
  const commit = await cache.commit();
  const listing = commit === undefined ? undefined : await cache.listing(commit);
  if (commit === undefined || !listing) return undefined;
  return { commit, files: wantedFiles(listing, id, options) };
}

function wantedFiles(listing: readonly HubFile[], id: HubId, options: HubOptions): HubFile[] {
  const files = selectFiles(listing, options.files);
  if (files.length > 0) return files;
  const wanted = options.files ?? WEIGHT_FORMATS.map(({ entry }) => entry);
  throw new EpalmError("not_found", `${id.text} has none of the files ${wanted.join(", ")}`);
}
