import { readdir } from "node:fs/promises";
import { basename, extname, join, resolve } from "node:path";
import { EpalmError, messageOf } from "../../../core/errors.js";
import type { Modality } from "../../../core/modality.js";
import type { MediaReference } from "../example.js";
import { acceptedExtensions } from "./media-extensions.js";

/**
 * Media that a data set names without an extension, in a folder and the folders below it. The folder is listed once,
 * because a data set has tens of thousands of media under several possible names each.
 */
export class MediaFolder {
  private constructor(
    readonly path: string,
    private readonly modality: Modality,
    private readonly byName: ReadonlyMap<string, string>,
  ) {}

  /** @throws not_found */
  static async open(path: string, modality: Modality): Promise<MediaFolder> {
    const names = await readdir(path, { recursive: true }).catch((error: unknown) => {
      throw new EpalmError("not_found", `media: ${path}: cannot be listed: ${messageOf(error)}`);
    });
    const byName = new Map<string, string>();
    // If several files have the same name, the one with the first extension is used, and then the first path.
    for (const extension of acceptedExtensions[modality]) {
      for (const name of names.filter((one) => extname(one).toLowerCase() === extension).sort()) {
        const stem = basename(name).slice(0, -extension.length);
        if (!byName.has(stem)) byName.set(stem, resolve(path, name));
      }
    }
    return new MediaFolder(path, modality, byName);
  }

  /** The file with the first of these names that exists; if none does, a path that the check of media rejects. */
  find(names: readonly string[]): MediaReference {
    const found = names.map((name) => this.byName.get(name)).find((path) => path !== undefined);
    const [usual = ""] = acceptedExtensions[this.modality];
    return { modality: this.modality, path: found ?? resolve(join(this.path, `${names[0] ?? ""}${usual}`)) };
  }
}
