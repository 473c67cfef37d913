import { basename, extname } from "node:path";
import { EpalmError, fileNotFound } from "../../core/errors.js";
import type { Finding } from "./example.js";
import { isFolderNotFile } from "./file-or-folder.js";
import { readLines } from "./read-lines.js";

/**
 * Reads a list of media, one name per line, such as the `train_list.txt` of MSVD. Folders and extensions of the names
 * are ignored.
 *
 * @throws not_found; invalid_data for an empty list or a line that is not text
 */
export async function readMediaList(path: string): Promise<ReadonlySet<string>> {
  if (await isFolderNotFile(path)) throw fileNotFound(path);
  const names = new Set<string>();
  for await (const line of readLines(path)) {
    if (line.kind === "bad") throw new EpalmError("invalid_data", `${path}:${line.number}: ${line.cause}`);
    if (line.text.trim() !== "") names.add(nameOf(line.text.trim()));
  }
  if (names.size > 0) return names;
  throw new EpalmError("invalid_data", `${path}: expected the name of a medium on each line, got an empty file`);
}

/** Leaves out the examples whose media are not in the list. */
export async function* amongListed(
  findings: AsyncIterable<Finding> | Iterable<Finding>,
  listed: ReadonlySet<string> | undefined,
): AsyncGenerator<Finding> {
  for await (const finding of findings) {
    if (finding.kind === "bad" || (listed?.has(nameOf(finding.media.path)) ?? true)) yield finding;
  }
}

function nameOf(path: string): string {
  return basename(path, extname(path));
}
