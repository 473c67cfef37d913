import { EpalmError } from "../../../core/errors.js";

/** A parsed JSON file of a data set. */
export interface JsonFile {
  readonly path: string;
  readonly json: unknown;
}

/**
 * The entries of the chosen splits, with their indices. Entries without a split are kept, so that their reader reports
 * them.
 *
 * @param wanted names of splits. Default: all.
 * @throws invalid_option for a split that no entry belongs to
 */
export function entriesOfSplits(
  entries: readonly unknown[],
  wanted: readonly string[] | undefined,
  path: string,
): (readonly [index: number, entry: unknown])[] {
  const all = [...entries.entries()];
  if (wanted === undefined) return all;
  const known = new Set(entries.map(splitOf));
  for (const split of wanted) {
    if (known.has(split)) continue;
    const names = [...known].filter((name) => name !== undefined).map((name) => `'${name}'`);
    throw new EpalmError("invalid_option", `${path}: split: expected ${names.join(" or ")}, got '${split}'`);
  }
  return all.filter(([, entry]) => {
    const split = splitOf(entry);
    return split === undefined || wanted.includes(split);
  });
}

function splitOf(entry: unknown): string | undefined {
  const isObject = typeof entry === "object" && entry !== null && "split" in entry;
  return isObject && typeof entry.split === "string" ? entry.split : undefined;
}
