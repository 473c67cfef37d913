import { createWriteStream, existsSync, readdirSync, renameSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, extname, join, posix } from "node:path";
import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";
import { pack } from "tar-stream";
import { EpalmError, messageOf, unexpected } from "../../core/errors.js";
import { KeySet } from "../../core/key-set.js";
import { MAX_MEDIA_BYTES } from "../../media/media-limits.js";
import { jsonLines } from "./json-lines.js";
import { readObject } from "./remote/s3-client.js";
import { archiveOf, isTar, keyOf, keysOf, type RunMedium } from "./run-medium.js";
import type { RunOutput, RunResult } from "./run-output.js";
import { below, sidecarText } from "./sidecar-output.js";
import { membersOf, sampleKey } from "./tar-media.js";

const SUFFIX = ".tmp";

export interface TarOutputOptions {
  readonly model: string;
  readonly samplesPerTar: number;
  readonly scores: boolean;
  readonly isReadOnly: boolean;
}

/** A tar file that is being written. */
interface OpenTar {
  readonly path: string;
  readonly pack: ReturnType<typeof pack>;
  readonly file: Writable;
  readonly keys: Set<string>;
}

/**
 * WebDataset shards with the members of each sample, its texts (`.txt`) and its answers (`.json`). A shard has its name
 * only when it is complete; what a killed run left is removed and made again.
 */
export class TarOutput implements RunOutput {
  readonly #pattern: string;
  readonly #options: TarOutputOptions;
  readonly #answered = new KeySet();
  #next = 0;
  #open: OpenTar | undefined;

  private constructor(pattern: string, options: TarOutputOptions) {
    this.#pattern = /%0?\d*d/.test(pattern) ? pattern : pattern.replace(/\.tar$/i, "-%06d$&");
    this.#options = options;
  }

  /** Reads what complete shards already contain. @throws invalid_option */
  static async open(pattern: string, options: TarOutputOptions): Promise<TarOutput> {
    const folder = dirname(pattern);
    if (!existsSync(folder)) {
      throw new EpalmError("invalid_option", `--output: ${pattern}: the folder ${folder} does not exist`);
    }
    const output = new TarOutput(pattern, options);
    const [start = "", end = ""] = basename(output.#pattern).split(/%0?\d*d/);
    for (const name of readdirSync(folder).sort()) {
      const number = name.startsWith(start) ? /^\d+/.exec(name.slice(start.length))?.[0] : undefined;
      if (number === undefined) continue;
      if (name === start + number + end + SUFFIX && !options.isReadOnly) rmSync(join(folder, name));
      if (name !== start + number + end) continue;
      await output.#read(join(folder, name));
      output.#next = Math.max(output.#next, Number(number) + 1);
    }
    return output;
  }

  begin({ file, modality, source }: RunMedium, question: string | undefined): boolean {
    if (source.kind === "url") {
      throw new EpalmError("invalid_option", `--output: ${file} is not a file, which a sample could contain`);
    }
    return this.#answered.add(keyOf({ file, modality, question }));
  }

  /** Adds the sample, unless a request failed: the next run then makes all of them again. */
  async write(medium: RunMedium, results: readonly RunResult[]): Promise<void> {
    if (results.some(({ error }) => error)) return;
    const members = await membersWith(medium, results, this.#options.scores);
    const key = keyOfMedium(medium);
    // Readers would take neighbours with the same key for one sample.
    if (this.#open && (this.#open.keys.size >= this.#options.samplesPerTar || this.#open.keys.has(key))) {
      await this.#finish(this.#open);
    }
    this.#open ??= this.#begin();
    this.#open.keys.add(key);
    for (const [extension, bytes] of members) {
      // A fixed time, so that the same samples give the same bytes.
      this.#open.pack.entry({ name: `${key}.${extension}`, mtime: new Date(0) }, Buffer.from(bytes));
    }
    await drained(this.#open.file);
  }

  async close(): Promise<void> {
    if (this.#open) await this.#finish(this.#open);
  }

  #begin(): OpenTar {
    const path = this.#pattern.replace(/%0?(\d*)d/, (_, width) => String(this.#next).padStart(Number(width), "0"));
    this.#next++;
    const own = pack();
    const file = createWriteStream(path + SUFFIX);
    // Reported when the shard is finished.
    file.on("error", () => undefined);
    own.pipe(file);
    return { path, pack: own, file, keys: new Set() };
  }

  async #finish({ path, pack: own, file }: OpenTar): Promise<void> {
    this.#open = undefined;
    try {
      own.finalize();
      await finished(file);
      renameSync(path + SUFFIX, path);
    } catch (error) {
      throw new EpalmError("internal", `--output: ${path}: cannot be written: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Remembers the requests that a complete shard answers. */
  async #read(path: string): Promise<void> {
    for await (const { name, bytes } of membersOf(path, (name) => name.endsWith(".json"))) {
      for (const answer of [JSON.parse(Buffer.from(bytes ?? []).toString())].flat()) {
        const record = jsonLines.parse(JSON.stringify(answer), `--output: ${path}: ${name}`);
        if (!record) continue;
        if (record.model !== undefined && record.model !== this.#options.model) {
          const expected = `answers of the model '${this.#options.model}'`;
          throw unexpected("invalid_option", `--output: ${path}: ${name}`, expected, `one of '${record.model}'`);
        }
        for (const key of keysOf(record)) this.#answered.add(key);
      }
    }
  }
}

/** The members of a sample by extension: those of the input, the texts and the answers. */
async function membersWith(
  medium: RunMedium,
  results: readonly RunResult[],
  scores: boolean,
): Promise<Map<string, Uint8Array>> {
  const members = new Map<string, Uint8Array>(medium.members);
  const { source } = medium;
  if (source.kind === "path") members.set(extname(source.path).slice(1).toLowerCase(), await readFile(source.path));
  if (source.kind === "object") {
    const bytes = await readObject(source.name, { maxBytes: MAX_MEDIA_BYTES });
    members.set(extname(source.name).slice(1).toLowerCase(), bytes);
  }
  const ownText = members.get("txt");
  // The JSON member of the input is part of the answers; its text would be lost.
  if (ownText) members.set("input.txt", ownText);
  for (const form of ["txt", "json"] as const) {
    members.delete(form);
    members.set(form, Buffer.from(sidecarText({ form, scores }, medium, results)));
  }
  return members;
}

/** The key of a sample, which contains no dot after its folders. */
function keyOfMedium({ file }: RunMedium): string {
  const tar = archiveOf(file);
  if (tar !== undefined && isTar(tar) && tar !== file) return sampleKey(file.slice(tar.length + 1));
  const path = below(file).replaceAll("\\", "/");
  const name = basename(path, extname(path));
  return posix.join(posix.dirname(path), name.replaceAll(".", "_"));
}

/** Waits until a file can take more bytes, so that memory does not grow with the size of a shard. */
async function drained(file: Writable): Promise<void> {
  if (file.writableNeedDrain) await new Promise((resolve) => file.once("drain", resolve).once("error", resolve));
}
