import { closeSync, existsSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import { writeAtomically } from "../../core/atomic-write.js";
import { EpalmError, messageOf } from "../../core/errors.js";
import { modalities } from "../../core/modality.js";
import type { MediaQuestion } from "../options/media-questions.js";
import { STANDARD_INPUT } from "../standard-input.js";

/** In bytes. A larger file would not fit into a JavaScript string; ten million short answers take less. */
const MAX_BYTES = 512 * 1024 * 1024;

/** The keys of a line that identify its request. All other keys belong to the answer. */
const answerLine = z.looseObject({
  file: z.string(),
  modality: z.enum(modalities).optional(),
  question: z.string().optional(),
  model: z.string().optional(),
  error: z.looseObject({ message: z.string() }).optional().describe("in place of an answer"),
});
export type AnswerLine = z.infer<typeof answerLine>;

/**
 * A file with one line of JSON per answer, to which runs append, so that the same command resumes an interrupted run.
 * An incomplete last line is removed, and so is the line of a failed request that the run tries again. The file
 * therefore never contains two lines for one request.
 */
export class AnswerFile {
  readonly #descriptor: number;
  readonly #answered: Set<string>;

  /**
   * @param asked the requests of this run; lines of other requests are left unchanged
   * @param model name of the model; a file with answers of another model is rejected, because they would be mixed up
   * @throws invalid_option if the file contains anything else or cannot be written
   */
  constructor(path: string, asked: readonly MediaQuestion[], model: string) {
    const folder = dirname(path);
    if (!existsSync(folder)) throw invalid(`${path}: the folder ${folder} does not exist`);
    const text = readText(path);
    const wanted = new Set(asked.map(keyOf));
    const kept = wholeLines(text).flatMap((line, at) => {
      const answer = parseLine(line, `--output: ${path}:${at + 1}`);
      if (answer.model !== undefined && answer.model !== model) {
        const got = `one of '${answer.model}'`;
        throw invalid(`${path}:${at + 1}: expected an answer of the model '${model}', got ${got}`);
      }
      return answer.error && keysOf(answer).some((key) => wanted.has(key)) ? [] : [{ line, answer }];
    });
    this.#answered = new Set(kept.flatMap(({ answer }) => (answer.error ? [] : keysOf(answer))));
    try {
      const complete = kept.map(({ line }) => `${line}\n`).join("");
      // Written atomically, so that the old file survives if the process is killed.
      if (complete !== text) writeAtomically(path, complete);
      this.#descriptor = openSync(path, "a");
    } catch (error) {
      throw invalid(messageOf(error));
    }
  }

  /** Whether the file contains an answer. Never true for standard input, whose content differs from run to run. */
  has(item: MediaQuestion): boolean {
    return this.#answered.has(keyOf(item));
  }

  /** Appends a line, which has been written to the file when this returns. */
  add(answer: AnswerLine): void {
    writeSync(this.#descriptor, `${JSON.stringify(answer)}\n`);
    if (answer.error || answer.file === STANDARD_INPUT) return;
    for (const key of keysOf(answer)) this.#answered.add(key);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

type AnsweredQuestion = Pick<AnswerLine, "file" | "modality" | "question">;

function keyOf({ file, modality, question }: AnsweredQuestion): string {
  return JSON.stringify([file, modality ?? "any", question]);
}

/** The keys of the requests that a line answers: the one that states its modality, and the one that states none. */
function keysOf(line: AnsweredQuestion): string[] {
  return [keyOf(line), keyOf({ ...line, modality: undefined })];
}

function readText(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) return "";
  if (!stats.isFile()) throw invalid(`${path}: is not a regular file`);
  if (stats.size > MAX_BYTES) throw invalid(`${path}: expected at most ${MAX_BYTES} bytes, got ${stats.size}`);
  return readFileSync(path, "utf8");
}

/** All lines except a last one that is incomplete. */
function wholeLines(text: string): string[] {
  const lines = text.split("\n");
  const rest = lines.pop() ?? "";
  return isJson(rest) ? [...lines, rest] : lines;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function parseLine(line: string, where: string): AnswerLine {
  const answer = isJson(line) ? answerLine.safeParse(JSON.parse(line)) : undefined;
  if (answer?.success) return answer.data;
  throw new EpalmError("invalid_option", `${where}: expected an answer as a JSON object with 'file'`);
}

function invalid(message: string): EpalmError {
  return new EpalmError("invalid_option", `--output: ${message}`);
}
