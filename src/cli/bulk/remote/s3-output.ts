import { createHash, randomUUID } from "node:crypto";
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { readEnvironment } from "../../../core/environment.js";
import { EpalmError, messageOf } from "../../../core/errors.js";
import { replaceAtomically, writeAtomically } from "../../../core/files/atomic-write.js";
import { parseJson } from "../../../core/json.js";
import { parse } from "../../../core/schema.js";
import { defaultCacheFolder } from "../../../hub/resolve-folder.js";
import { note } from "../../output/output.js";
import { LINES_SUFFIX } from "../parquet/parquet-output.js";
import type { RunMedium } from "../run-medium.js";
import type { RunOutput, RunResult } from "../run-output.js";
import { openObject, putObject, type S3Object } from "./s3-client.js";
import { parseS3 } from "./s3-name.js";

/** In bytes: the largest object that one request can write. */
const MAX_OBJECT_BYTES = 5 * 2 ** 30;

/** Milliseconds between two uploads during a run. */
const INTERVAL_MS = 5 * 60_000;

/** Key of the metadata that says which local file an object is a copy of. */
const COPY_OF = "epalm-run";

/** What is remembered beside the local file. */
const origin = z.object({
  /** Identifies the local file in the metadata of its copies. */
  id: z.string(),
  /** The tag of the object that the local file began as. */
  etag: z.string().optional(),
});

/** The local file with the answers of a run whose output is an object. */
export function localCopyOf(name: string): string {
  const folder = readEnvironment().hub.cacheFolder ?? defaultCacheFolder();
  const digest = createHash("sha256").update(name).digest("hex").slice(0, 16);
  return join(folder, "s3-outputs", `${digest}-${basename(parseS3(name).key)}`);
}

export interface S3OutputOptions {
  readonly isReadOnly: boolean;
  /** Whether the local file is complete after each answer, so that it can be uploaded during the run. */
  readonly isAppended: boolean;
  readonly openLocal: (path: string) => Promise<RunOutput>;
}

/**
 * An object that is written as a local file, which begins as a copy of the object, and is uploaded at the end and every
 * five minutes. The local file is deleted after the last upload. If the run is killed or an upload fails, it stays, and
 * the next run on this machine continues it.
 */
export class S3Output implements RunOutput {
  #nextUpload = Date.now() + INTERVAL_MS;

  private constructor(
    private readonly name: string,
    private readonly path: string,
    private readonly id: string,
    private readonly inner: RunOutput,
    private readonly isAppended: boolean,
  ) {}

  /** @throws invalid_option if the object has changed since the local file was written; as `openObject` */
  static async open(name: string, { isReadOnly, isAppended, openLocal }: S3OutputOptions): Promise<RunOutput> {
    const path = localCopyOf(name);
    const object = await existingObject(name);
    try {
      const isContinued = existsSync(originPath(path)) && filesOf(path).some((file) => existsSync(file));
      if (isReadOnly && !isContinued) return await openTemporarily(name, object, openLocal);
      const { id } = isContinued ? continued(name, path, object) : await begun(path, object);
      const output = new S3Output(name, path, id, await openLocal(path), isAppended);
      if (!isReadOnly && isAppended && !object) await output.#checkAccess(isContinued);
      return output;
    } finally {
      object?.body.destroy();
    }
  }

  begin(medium: RunMedium, question: string | undefined): boolean {
    return this.inner.begin(medium, question);
  }

  async write(medium: RunMedium, results: readonly RunResult[]): Promise<void> {
    await this.inner.write(medium, results);
    if (!this.isAppended || Date.now() < this.#nextUpload) return;
    this.#nextUpload = Date.now() + INTERVAL_MS;
    // The upload at the end decides.
    await this.#upload().catch((error: unknown) => note(messageOf(error)));
  }

  async close(): Promise<void> {
    await this.inner.close();
    if (!existsSync(this.path)) return;
    try {
      await this.#upload();
    } catch (error) {
      if (!(error instanceof EpalmError)) throw error;
      const where = `the answers are in ${this.path}, from which the same command continues`;
      throw new EpalmError(error.code, `${error.message}; ${where}`, { cause: error });
    }
    this.#removeLocal();
  }

  /** Notices that the object cannot be written before the first answer is computed. */
  async #checkAccess(isContinued: boolean): Promise<void> {
    try {
      await this.#upload();
    } catch (error) {
      await this.inner.close();
      if (!isContinued) this.#removeLocal();
      throw error;
    }
  }

  async #upload(): Promise<void> {
    const length = statSync(this.path).size;
    if (length > MAX_OBJECT_BYTES) {
      const expected = `expected at most ${MAX_OBJECT_BYTES} bytes, got ${length}; use --shard`;
      throw new EpalmError("too_large", `--output: ${this.name}: ${expected}`);
    }
    try {
      await putObject(this.name, { path: this.path, length }, { [COPY_OF]: this.id });
    } catch (error) {
      throw ofOutput(error);
    }
  }

  /** In this order: without the first file, the next run begins with a copy of the object. */
  #removeLocal(): void {
    rmSync(originPath(this.path));
    rmSync(this.path);
  }
}

function ofOutput(error: unknown): unknown {
  if (!(error instanceof EpalmError)) return error;
  return new EpalmError(error.code, `--output: ${error.message}`, { cause: error });
}

/** The local file, and the one that a Parquet file is made from. */
function filesOf(path: string): string[] {
  return [path, `${path}${LINES_SUFFIX}`];
}

function originPath(path: string): string {
  return `${path}.origin`;
}

/** The object, if there is one. */
async function existingObject(name: string): Promise<S3Object | undefined> {
  try {
    return await openObject(name);
  } catch (error) {
    const cause = error instanceof EpalmError ? error.cause : undefined;
    if (cause instanceof Error && cause.name === "NoSuchKey") return undefined;
    throw ofOutput(error);
  }
}

/** Checks that no one else has written the object since the local file was begun. */
function continued(name: string, path: string, object: S3Object | undefined): z.infer<typeof origin> {
  const file = originPath(path);
  const known = parse(origin, parseJson(readFileSync(file), file, "invalid_data"), file, "invalid_data");
  if (!object || object.etag === known.etag || object.metadata[COPY_OF] === known.id) return known;
  const advice = `upload or delete ${path}, which contains the answers of a run that was interrupted before`;
  throw new EpalmError("invalid_option", `--output: ${name}: was written by another run; ${advice}`);
}

async function begun(path: string, object: S3Object | undefined): Promise<z.infer<typeof origin>> {
  mkdirSync(dirname(path), { recursive: true });
  // Files of which nothing says what they began as contain no answers of their own.
  for (const old of filesOf(path)) rmSync(old, { force: true });
  if (object) await download(object, path);
  const known = { id: randomUUID(), etag: object?.etag };
  writeAtomically(originPath(path), JSON.stringify(known));
  return known;
}

/** Opens a copy of the answers, to find out what is missing. */
async function openTemporarily(
  name: string,
  object: S3Object | undefined,
  openLocal: S3OutputOptions["openLocal"],
): Promise<RunOutput> {
  const folder = mkdtempSync(join(tmpdir(), "epalm-s3-"));
  try {
    const path = join(folder, basename(parseS3(name).key));
    if (object) await download(object, path);
    return await openLocal(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function download({ body }: S3Object, path: string): Promise<void> {
  await replaceAtomically(path, (temporary) => pipeline(body, createWriteStream(temporary)));
}
