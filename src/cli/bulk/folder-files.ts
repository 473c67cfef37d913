import { readdir, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import picomatch from "picomatch";
import type { Modality } from "../../core/modality.js";
import { acceptedExtensions } from "../../training/data/formats/media-extensions.js";
import { objectsBelow } from "./remote/s3-client.js";
import { isS3 } from "./remote/s3-name.js";

/** Which files of a folder belong to a run. */
export interface FileFilter {
  /** Globs; those without a slash apply to names, others to paths below the folder. */
  readonly include?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
}

/** A test for paths below a folder. Default of `include`: names with the extension of an accepted medium. */
export function fileFilter(
  { include, exclude }: FileFilter,
  modalities: readonly Modality[],
): (path: string) => boolean {
  const extensions = new Set(modalities.flatMap((modality) => acceptedExtensions[modality]));
  const isIncluded = include ? anyOf(include) : (path: string) => extensions.has(extname(path).toLowerCase());
  const isExcluded = exclude ? anyOf(exclude) : () => false;
  return (path) => isIncluded(path) && !isExcluded(path);
}

function anyOf(globs: readonly string[]): (path: string) => boolean {
  const matchers = globs.map((glob) => picomatch(glob, { basename: !glob.includes("/") }));
  return (path) => matchers.some((matches) => matches(path));
}

/**
 * The files below a folder as paths relative to it, folder by folder, each sorted by name, without hidden ones; of
 * `s3://bucket/prefix`, the objects below it in the order of the store. The names of only one folder and of those above
 * it are in memory. Links to folders are not followed, as they may form a circle.
 *
 * @param depth levels of local folders that are read. Default: all
 */
export function filesBelow(folder: string, depth?: number): AsyncGenerator<string> {
  return isS3(folder) ? visibleObjects(folder) : localFiles(folder, depth);
}

async function* visibleObjects(folder: string): AsyncGenerator<string> {
  for await (const path of objectsBelow(`${folder.replace(/\/+$/, "")}/`)) if (!/(^|\/)\./.test(path)) yield path;
}

async function* localFiles(folder: string, depth = Number.POSITIVE_INFINITY, below = ""): AsyncGenerator<string> {
  const entries = await readdir(join(folder, below), { withFileTypes: true });
  const names = entries
    .filter(({ name }) => !name.startsWith("."))
    .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.isFile() ? entry.name : `${entry.name}?`))
    .sort();
  for (const name of names) {
    const path = below + name.replace(/\?$/, "");
    if (name.endsWith("/")) {
      if (depth > 1) yield* localFiles(folder, depth - 1, path);
    } else if (!name.endsWith("?") || (await isFile(join(folder, path)))) yield path;
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}
