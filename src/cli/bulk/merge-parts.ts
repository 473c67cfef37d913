import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { z } from "zod";
import { EpalmError, fileNotFound, unexpected } from "../../core/errors.js";
import { writeAtomically } from "../../core/files/atomic-write.js";
import { parseJson } from "../../core/json.js";
import { KeySet } from "../../core/key-set.js";
import { parse } from "../../core/schema.js";
import { recordFormat } from "./open-output.js";
import { isParquet } from "./parquet/parquet-file.js";
import { readParquetRecords, writeParquet } from "./parquet/parquet-records.js";
import { type AnswerRecord, recordsOf } from "./record-file.js";
import { putObject, removeObject } from "./remote/s3-client.js";
import { isS3 } from "./remote/s3-name.js";
import { archiveOf, keyOf } from "./run-medium.js";
import { partName, shardOfPart } from "./shard.js";

/** What a shard that processed all of its inputs leaves beside its part. */
const completion = z.object({ linesPerFile: z.int().min(1).describe("number of questions about each file") });

const SUFFIX = ".done";

/** Marks a part as complete. */
export async function markComplete(part: string, linesPerFile: number): Promise<void> {
  const text = JSON.stringify({ linesPerFile });
  if (isS3(part)) await putObject(part + SUFFIX, { text });
  else writeAtomically(part + SUFFIX, text);
}

/** Removes the mark, while a run may change the part. */
export async function markIncomplete(part: string): Promise<void> {
  if (isS3(part)) await removeObject(part + SUFFIX);
  else rmSync(part + SUFFIX, { force: true });
}

export interface MergedParts {
  readonly parts: number;
  readonly answers: number;
  readonly failed: number;
}

/** A part, and the file with its records: itself, or the rows of a Parquet file as JSON lines. */
interface ReadPart {
  readonly part: string;
  readonly records: string;
}

/** A record of a part and where it is, for messages. */
interface PartRecord {
  readonly text: string;
  readonly where: string;
  /** Undefined for a header. */
  readonly record: AnswerRecord | undefined;
}

/**
 * Joins the parts of a run into one file, in the order in which a single run writes them: a file (or all media of an
 * archive) of each shard in turn. Nothing is written unless all parts are there and complete. A failed file that a
 * later run of a shard tried again is at the end of its part, which changes the order.
 *
 * @param parts files in any order; marks of completion among them are ignored
 * @throws not_found, invalid_data, invalid_option
 */
export async function mergeParts(parts: readonly string[], output: string): Promise<MergedParts> {
  const ordered = orderedParts(parts.filter((part) => !part.endsWith(SUFFIX)));
  const folder = mkdtempSync(join(tmpdir(), "epalm-merge-"));
  try {
    const read: ReadPart[] = [];
    for (const part of ordered) {
      const records = isParquet(part) ? join(folder, `${basename(part)}.jsonl`) : part;
      if (records !== part) await readParquetRecords(part, records);
      read.push({ part, records });
    }
    if (!isParquet(output)) return joinRecords(read, output);
    const joined = join(folder, "joined.jsonl");
    const merged = joinRecords(read, joined);
    await writeParquet(joined, output);
    return merged;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function joinRecords(parts: readonly ReadPart[], output: string): MergedParts {
  const known = new KeySet();
  let failed = 0;
  let header: string | undefined;
  function* lines(): Generator<Uint8Array> {
    for (const { text, where, record } of interleaved(parts.map(groupsOf))) {
      if (!record) {
        if (header !== undefined && text !== header) throw unexpected("invalid_data", where, header, text);
        if (header === undefined) yield Buffer.from(`${text}\n`);
        header = text;
        continue;
      }
      if (!known.add(keyOf(record))) {
        throw new EpalmError("invalid_data", `${where}: '${record.file}' has been answered in another part`);
      }
      if (record.isFailed) failed++;
      yield Buffer.from(`${text}\n`);
    }
  }
  writeAtomically(output, lines());
  return { parts: parts.length, answers: known.size, failed };
}

/** @throws not_found if a part is missing or incomplete; invalid_option for other files */
function orderedParts(parts: readonly string[]): string[] {
  const byIndex = new Map<number, string>();
  const [first = ""] = parts;
  const { of = 0 } = shardOfPart(first) ?? {};
  for (const part of parts) {
    const shard = shardOfPart(part);
    if (!shard || shard.of !== of) {
      throw unexpected(
        "invalid_option",
        "parts",
        `names like ${partName("captions.jsonl", { index: 0, of: of || 4 })}`,
        part,
      );
    }
    const other = byIndex.get(shard.index);
    if (other !== undefined)
      throw unexpected("invalid_option", "parts", `one part ${shard.index + 1}`, `${other}, ${part}`);
    if (!existsSync(part)) throw fileNotFound(part);
    byIndex.set(shard.index, part);
  }
  const missing = Array.from({ length: of }, (_, index) => index).flatMap((index) => {
    const part = byIndex.get(index);
    if (part === undefined) return [`part ${index + 1} is missing`];
    return existsSync(part + SUFFIX)
      ? []
      : [`part ${index + 1} is not complete: run \`--shard ${index + 1}/${of}\` again`];
  });
  if (missing.length > 0) throw new EpalmError("not_found", `parts: expected all ${of}, but ${missing.join("; ")}`);
  return Array.from({ length: of }, (_, index) => byIndex.get(index) ?? "");
}

/** The records of a part about one file, or about all media of one archive. */
function* groupsOf({ part, records: file }: ReadPart): Generator<PartRecord[]> {
  const { linesPerFile } = parse(
    completion,
    parseJson(readFileSync(part + SUFFIX, "utf8"), part, "invalid_data"),
    part,
    "invalid_data",
  );
  const format = recordFormat(file);
  let group: PartRecord[] = [];
  let archive: string | undefined;
  for (const { text, number, isEnded } of recordsOf(file, format)) {
    const where = `${part}:${number}`;
    if (!isEnded && !format.isComplete(text))
      throw new EpalmError("invalid_data", `${where}: the line is not complete`);
    const record = format.parse(text, where);
    const own = record && archiveOf(record.file);
    const records = group.filter((one) => one.record).length;
    const isNext = archive === undefined ? own !== undefined || records >= linesPerFile : own !== archive;
    if (isNext && records > 0) {
      yield group;
      group = [];
    }
    archive = own;
    group.push({ text, where, record });
  }
  if (group.length > 0) yield group;
}

/** One group of each part in turn. */
function* interleaved(parts: readonly Generator<PartRecord[]>[]): Generator<PartRecord> {
  for (let open = parts; open.length > 0; ) {
    const next: Generator<PartRecord[]>[] = [];
    for (const part of open) {
      const { done, value } = part.next();
      if (done) continue;
      yield* value;
      next.push(part);
    }
    open = next;
  }
}
