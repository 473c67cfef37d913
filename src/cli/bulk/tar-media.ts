import { posix } from "node:path";
import type { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { extract, type Header } from "tar-stream";
import { z } from "zod";
import { EpalmError, fileNotFound, messageOf, tooManyBytes } from "../../core/errors.js";
import { parseJson } from "../../core/json.js";
import { parse } from "../../core/schema.js";
import { MAX_MEDIA_BYTES } from "../../media/media-limits.js";
import { openInput } from "./remote/open-input.js";
import type { RunMedium } from "./run-medium.js";

/** A member of a tar file. */
interface Member {
  readonly name: string;
  /** Undefined if it is too large. */
  readonly bytes: Uint8Array | undefined;
}

const anyObject = z.record(z.string(), z.unknown());

/** An entry of a tar file while it is read. */
type Entry = AsyncIterable<unknown> & { readonly header: Header; resume(): unknown };

type TarMedium = Omit<RunMedium, "questions" | "modality">;

/**
 * The media of a WebDataset shard in the order of the file. Members that follow one another and have the same name up
 * to the first dot form a sample. Its medium is the first member for which `isMedium` holds, and its `.json` member
 * becomes `input`. Samples without a medium are left out. A damaged or truncated file ends with a medium that carries
 * the error.
 */
export async function* tarMedia<T>(
  path: string,
  isMedium: (name: string) => boolean,
  complete: (medium: TarMedium) => T,
): AsyncGenerator<T> {
  let sample: Member[] = [];
  function* finish(): Generator<T> {
    const medium = mediumOf(path, sample, isMedium);
    sample = [];
    if (medium) yield complete(medium);
  }
  try {
    for await (const member of membersOf(path)) {
      const [first] = sample;
      if (first && sampleKey(first.name) !== sampleKey(member.name)) yield* finish();
      const held = sample.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), member.bytes?.length ?? 0);
      sample.push(held > MAX_MEDIA_BYTES ? { name: member.name, bytes: undefined } : member);
    }
    yield* finish();
  } catch (error) {
    if (!(error instanceof EpalmError)) throw error;
    yield complete({ file: path, source: { kind: "unreadable", error } });
  }
}

/**
 * The files in a tar file, without hidden ones.
 *
 * @param isWanted by name; other members are skipped. Default: all
 * @throws not_found, invalid_data
 */
export async function* membersOf(path: string, isWanted?: (name: string) => boolean): AsyncGenerator<Member> {
  const tar = extract();
  let stream: Readable | undefined;
  try {
    stream = (await openInput(path)).on("error", (error) => tar.destroy(error));
    const unzipped: Readable = path.toLowerCase().endsWith("gz") ? stream.pipe(createGunzip()) : stream;
    unzipped.on("error", (error) => tar.destroy(error));
    for await (const entry of unzipped.pipe(tar)) {
      const name = entry.header.name.replace(/^(\.\/)+/, "");
      const isFile = entry.header.type === "file" && !posix.basename(name).startsWith(".");
      if (isFile && (isWanted?.(name) ?? true)) yield { name, bytes: await bytesOf(entry) };
      // The next entry arrives only when this one has been read to its end.
      else entry.resume();
    }
  } catch (error) {
    throw tarError(path, error);
  } finally {
    stream?.destroy();
  }
}

/** The part of a member's name that the members of a sample share: the folders, and the name up to its first dot. */
export function sampleKey(name: string): string {
  return /^(?:.*\/)?[^/.]*/.exec(name)?.[0] ?? name;
}

async function bytesOf(entry: Entry): Promise<Uint8Array | undefined> {
  if (entry.header.size > MAX_MEDIA_BYTES) {
    entry.resume();
    return undefined;
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of entry) if (chunk instanceof Uint8Array) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function mediumOf(
  path: string,
  members: readonly Member[],
  isMedium: (name: string) => boolean,
): TarMedium | undefined {
  const medium = members.find(({ name }) => isMedium(name));
  if (!medium) return undefined;
  const file = `${path}/${medium.name}`;
  const others = new Map(members.flatMap(({ name, bytes }) => (bytes ? [[extensionOf(name), bytes] as const] : [])));
  try {
    if (!medium.bytes) throw tooManyBytes(file, MAX_MEDIA_BYTES);
    const json = others.get("json");
    const where = `${path}/${sampleKey(medium.name)}.json`;
    const input =
      json && parse(anyObject, parseJson(Buffer.from(json).toString(), where, "invalid_data"), where, "invalid_data");
    return { file, source: { kind: "bytes", bytes: medium.bytes }, input, members: others };
  } catch (error) {
    if (!(error instanceof EpalmError)) throw error;
    return { file, source: { kind: "unreadable", error }, members: others };
  }
}

/** Everything after the first dot. */
function extensionOf(name: string): string {
  return name.slice(sampleKey(name).length + 1);
}

function tarError(path: string, error: unknown): EpalmError {
  if (error instanceof EpalmError) return error;
  const isMissing = error instanceof Error && "code" in error && error.code === "ENOENT";
  if (isMissing) return fileNotFound(path);
  return new EpalmError("invalid_data", `${path}: is not a complete tar file: ${messageOf(error)}`);
}
