import { mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import { writeAtomically } from "../core/files/atomic-write.js";
import { pathInside } from "../core/files/path-inside.js";
import { sizeOf } from "./download-file.js";
import type { HubId } from "./id.js";
import { commitSchema, type HubFile, hubFileSchema } from "./listing.js";

const listingSchema = z.array(hubFileSchema);

/**
 * The part of a hub model that is stored on this machine: `<owner>--<name>/refs/<revision>` contains a commit,
 * `listings/<commit>.json` lists all files of that commit, and `snapshots/<commit>/` contains those that were
 * downloaded.
 */
export class HubCache {
  readonly #folder: string;
  readonly #id: HubId;

  constructor(cacheFolder: string, id: HubId) {
    this.#folder = join(cacheFolder, id.name.replace("/", "--"));
    this.#id = id;
  }

  snapshotFolder(commit: string): string {
    return join(this.#folder, "snapshots", commit);
  }

  /** The commit to which the hub resolved the revision most recently; a revision can be a commit itself. */
  async commit(): Promise<string | undefined> {
    const revision = commitSchema.safeParse(this.#id.revision);
    if (revision.success) return revision.data;
    const stored = commitSchema.safeParse((await readText(this.#refPath()))?.trim());
    return stored.data;
  }

  storeCommit(commit: string): void {
    store(this.#refPath(), commit);
  }

  async listing(commit: string): Promise<HubFile[] | undefined> {
    const text = await readText(this.#listingPath(commit));
    if (text === undefined) return undefined;
    try {
      return listingSchema.safeParse(JSON.parse(text)).data;
    } catch {
      return undefined;
    }
  }

  storeListing(commit: string, files: readonly HubFile[]): void {
    store(this.#listingPath(commit), JSON.stringify(files));
  }

  /** Path of a file of a commit. @throws `download_failed` for a name that would leave the folder */
  filePath(commit: string, file: HubFile): string {
    const path = pathInside(this.snapshotFolder(commit), file.path);
    if (path) return path;
    throw new EpalmError(
      "download_failed",
      `${this.#id.text}: file name ${JSON.stringify(file.path)} would leave the cache folder`,
    );
  }

  /** The files that are absent or have a different size. */
  async missing(commit: string, files: readonly HubFile[]): Promise<HubFile[]> {
    const sizes = await Promise.all(files.map((file) => sizeOf(this.filePath(commit, file))));
    return files.filter((file, index) => sizes[index] !== file.size);
  }

  #refPath(): string {
    return join(this.#folder, "refs", encodeURIComponent(this.#id.revision));
  }

  #listingPath(commit: string): string {
    return join(this.#folder, "listings", `${commit}.json`);
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return undefined;
  }
}

function store(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeAtomically(path, text);
}
