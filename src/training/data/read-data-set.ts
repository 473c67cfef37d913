import { EpalmError } from "../../core/errors.js";
import type { Modality } from "../../core/modality.js";
import { refuseBadExamples, type SkipOptions } from "./bad-examples.js";
import { MediaCheck } from "./check-media.js";
import { type BadExample, badExample, type Example, type Finding } from "./example.js";
import { amongListed, readMediaList } from "./media-list.js";
import { type DataSetSource, readFindings } from "./read-findings.js";

/** All examples are held in memory, at about a kilobyte each. */
const MAX_EXAMPLES = 5_000_000;

/** Media checked concurrently: enough to hide the latency of a disk, few enough for any limit of open files. */
const CHECKED_AT_ONCE = 64;

export interface ReadOptions extends SkipOptions {
  /** Other examples are bad. `one`: only the modality of the first example is allowed. Default: all. */
  readonly modalities?: readonly Modality[] | "one" | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Examples and skipped entries in the order of the file. */
export interface DataSet {
  readonly examples: readonly Example[];
  readonly skipped: readonly BadExample[];
}

/**
 * Reads a data set and checks all of it, including the media, so that training does not encounter a bad example.
 *
 * @throws not_found; invalid_option for settings that do not apply to the format; invalid_data, naming the bad
 * examples; too_large; aborted
 */
export async function readDataSet(source: DataSetSource, options: ReadOptions = {}): Promise<DataSet> {
  const check = new MediaCheck();
  const listed = source.list === undefined ? undefined : await readMediaList(source.list);
  const examples: Example[] = [];
  const skipped: BadExample[] = [];
  for await (const findings of chunksOf(amongListed(await readFindings(source), listed), CHECKED_AT_ONCE)) {
    if (options.signal?.aborted) throw new EpalmError("aborted", "reading the data set was stopped");
    const looked = await Promise.all(findings.map((one) => checked(one, check)));
    for (const [index, found] of findings.entries()) {
      const first = examples[0]?.media.modality;
      const taken = options.modalities === "one" ? first && [first] : options.modalities;
      const other = amongModalities(found, taken);
      const finding = other.kind === "bad" ? other : (looked[index] ?? other);
      if (finding.kind === "bad") skipped.push(finding);
      else examples.push(finding);
    }
    if (examples.length + skipped.length > MAX_EXAMPLES) {
      throw new EpalmError("too_large", `${source.path}: expected at most ${MAX_EXAMPLES} examples, got more`);
    }
  }
  refuseBadExamples(source.path, examples.length, skipped, options);
  return { examples, skipped };
}

async function checked(finding: Finding, check: MediaCheck): Promise<Finding> {
  if (finding.kind === "bad") return finding;
  const { media, where } = finding;
  const cause = await check.causeAgainst(media);
  return cause === undefined ? finding : badExample(where, `'${media.modality}': ${cause}`);
}

function amongModalities(finding: Finding, taken: readonly Modality[] | undefined): Finding {
  if (finding.kind === "bad" || !taken || taken.includes(finding.media.modality)) return finding;
  const expected = taken.map((modality) => `'${modality}'`).join(" or ");
  const taker = taken.length === 1 ? "the adapter is for" : "the model takes";
  return badExample(finding.where, `expected ${expected}, which ${taker}, got '${finding.media.modality}'`);
}

async function* chunksOf<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let chunk: T[] = [];
  for await (const item of items) {
    chunk.push(item);
    if (chunk.length < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}
