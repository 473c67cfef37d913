import { createReadStream, existsSync, ReadStream, statSync } from "node:fs";
import { addAbortSignal } from "node:stream";
import { EpalmError, excerpt, fileNotFound } from "../../core/errors.js";
import { whileLocked } from "../../core/files/lock-path.js";
import { KeySet } from "../../core/key-set.js";
import {
  BATCH_PREFIX,
  type BatchAnswer,
  batchAnswer,
  batchAnswerOf,
  readBatchRequest,
  refusedAnswer,
} from "../../server/dialects/openai-batch.js";
import { LocalService } from "../../server/http/local-service.js";
import { FieldError } from "../../server/http/problem.js";
import { type Line, readLines } from "../../training/data/read-lines.js";
import type { CliContext } from "../context.js";
import { type ServedModelFlags, serverConfig } from "../options/server-config.js";
import { FileProgress } from "../output/file-progress.js";
import { KeyedLines, type LineFormat } from "../output/keyed-lines.js";
import { formatCount, note } from "../output/output.js";
import { packageVersion } from "../package-version.js";
import { STANDARD_INPUT } from "../standard-input.js";

export interface BatchFlags extends ServedModelFlags {
  readonly output: string;
}

/** Lines that are in flight at the same time: enough to fill the batches of the encoder and the decoder. */
const LINES_IN_FLIGHT = 64;

/** Beyond this many bytes of lines in flight, no further line is read. */
const BYTES_IN_FLIGHT = 256 * 1024 * 1024;

/** The keys of a line beside its body; in bytes. */
const MAX_ENVELOPE = 64 * 1024;

const format: LineFormat = {
  expected: "an answer of a batch",
  prefix: BATCH_PREFIX,
  read: (json) => {
    const line = batchAnswer.safeParse(json).data;
    if (!line) return undefined;
    const { custom_id, response } = line;
    if (custom_id === null || response.status_code !== 200) return { kind: "failed" };
    return { kind: "finished", key: custom_id };
  },
};

/** `epalm batch` answers the requests in a file. */
export async function batch(input: string, flags: BatchFlags, context: CliContext): Promise<void> {
  if (input !== STANDARD_INPUT && !existsSync(input)) throw fileNotFound(input);
  const { environment, signal } = context;
  const config = serverConfig(flags, environment, "batch");
  // The default of the service would write a line for each request.
  const logLevel = environment.server.logLevel === undefined ? "error" : config.logLevel;
  await whileLocked(flags.output, async () => {
    const output = new KeyedLines(flags.output, format);
    const service = await LocalService.open({
      config: { ...config, logLevel },
      version: packageVersion(),
      requests: LINES_IN_FLIGHT,
      bytes: BYTES_IN_FLIGHT,
      log: process.stderr,
      signal,
    });
    try {
      const run = new BatchRun(output, service);
      await run.answerAll(input, config.limits.bodyBytes + MAX_ENVELOPE, signal);
      run.report(input, flags.output, context);
    } finally {
      await service.close();
      output.close();
    }
  });
}

class BatchRun {
  readonly #output: KeyedLines;
  readonly #service: LocalService;
  /** The `custom_id` of each line that has been read. */
  readonly #read = new KeySet();
  readonly #running = new Set<Promise<void>>();
  /** Bytes of the lines in flight. */
  #bytes = 0;
  readonly #counts = { lines: 0, skipped: 0, failed: 0 };
  #firstFailure = "";
  /** What ended the run: an interruption, or an output that cannot be written. */
  #ending: unknown;

  constructor(output: KeyedLines, service: LocalService) {
    this.#output = output;
    this.#service = service;
  }

  /** Reads only as many lines as can be in flight. @throws aborted; the errors of reading and writing the files */
  async answerAll(input: string, maxLineBytes: number, signal: AbortSignal): Promise<void> {
    const stream = addAbortSignal(signal, input === STANDARD_INPUT ? process.stdin : createReadStream(input));
    const progress = stream instanceof ReadStream ? new FileProgress(stream, statSync(input).size) : undefined;
    try {
      for await (const line of readLines(stream, maxLineBytes)) {
        if (line.kind === "text" && line.text.trim() === "") continue;
        this.#counts.lines++;
        this.#start(line);
        while (this.#running.size >= LINES_IN_FLIGHT || this.#bytes >= BYTES_IN_FLIGHT) {
          await Promise.race(this.#running);
        }
        if (this.#ending !== undefined) throw this.#ending;
        progress?.show(this.#counts.failed);
      }
      await Promise.all(this.#running);
      if (this.#ending !== undefined) throw this.#ending;
      progress?.show(this.#counts.failed);
    } finally {
      progress?.stop();
    }
  }

  /** Prints the counts, and sets the exit code if a line failed. */
  report(input: string, output: string, { reportError }: CliContext): void {
    const { lines, skipped, failed } = this.#counts;
    const earlier = skipped > 0 ? `, ${formatCount(skipped)} of them by earlier runs` : "";
    note(`${formatCount(lines - failed)} of ${formatCount(lines)} lines are answered${earlier}`);
    if (failed === 0) return;
    const count = `${formatCount(failed)} of ${formatCount(lines)} lines failed`;
    const message = `${count}; the first: ${this.#firstFailure} (${output} contains all errors)`;
    reportError(new EpalmError("invalid_data", `${input}: ${message}`));
  }

  #start(line: Line): void {
    const bytes = line.kind === "text" ? line.text.length : 0;
    this.#bytes += bytes;
    const answering = this.#answer(line)
      .catch((error: unknown) => {
        this.#ending ??= error;
      })
      .finally(() => {
        this.#bytes -= bytes;
        this.#running.delete(answering);
      });
    this.#running.add(answering);
  }

  async #answer(line: Line): Promise<void> {
    if (line.kind === "bad") {
      const code = line.isTooLong ? "too_large" : "invalid_option";
      return this.#fail(line, refusedAnswer(undefined, new EpalmError(code, `line: ${line.cause}`)));
    }
    const read = readBatchRequest(line.text);
    const customId = read.kind === "request" ? read.request.custom_id : read.customId;
    if (customId !== undefined && !this.#read.add(customId)) return this.#fail(line, duplicateAnswer(customId));
    if (read.kind === "refused") return this.#fail(line, refusedAnswer(customId, read.error));
    const { custom_id, url, body } = read.request;
    if (this.#output.has(custom_id)) {
      this.#counts.skipped++;
      return;
    }
    const answer = batchAnswerOf(custom_id, await this.#service.post(url, JSON.stringify(body)));
    if (answer.error) this.#fail(line, answer);
    else this.#output.append(answer, custom_id);
  }

  #fail({ number }: Line, answer: BatchAnswer): void {
    this.#counts.failed++;
    if (this.#firstFailure === "") this.#firstFailure = `line ${number}: ${answer.error?.message}`;
    this.#output.append(answer, undefined);
  }
}

function duplicateAnswer(customId: string): BatchAnswer {
  const message = `expected a different one for each line, got '${excerpt(customId)}' again`;
  return refusedAnswer(customId, new FieldError("invalid_option", "custom_id", message));
}
