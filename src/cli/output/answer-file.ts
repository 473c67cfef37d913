import { closeSync, existsSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import { writeAtomically } from "../../core/atomic-write.js";
import { EpalmError, messageOf } from "../../core/errors.js";
import { modalities } from "../../core/modality.js";
import type { MediaQuestion } from "../options/media-questions.js";
import { STANDARD_INPUT } from "../standard-input.js";

/** In bytes; more than a node string holds cannot be read, and ten million answers take less. */
const MAX_BYTES = 512 * 1024 * 1024;

/** What must be in a line for it to be found again; the rest is of the answer. */
const answerLine = z.looseObject({
  file: z.string(),
  modality: z.enum(modalities).optional(),
  question: z.string().optional(),
  model: z.string().optional(),
  error: z.looseObject({ message: z.string() }).optional().describe("instead of an answer"),
});
export type AnswerLine = z.infer<typeof answerLine>;

/**
 * A file with a line of JSON per answer that runs add to: a run that was ended goes on where it stood. What ended
 * within a line loses that line, and what failed is asked again, so that nothing has two lines.
 */
export class AnswerFile {
  readonly #descriptor: number;
  readonly #answered: Set<string>;

  /**
   * @param asked what this run is for; lines of others stay as they are
   * @param model lines that another one answered are refused: nobody would see them among these
   * @throws invalid_option if it holds something else, or cannot be written
   */
  constructor(path: string, asked: readonly MediaQuestion[], model: string) {
    const folder = dirname(path);
    if (!existsSync(folder)) throw invalid(`${path}: there is no folder ${folder}`);
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
      // Beside the file and then in its place: if the process is killed in between, the old file is still there.
      if (complete !== text) writeAtomically(path, complete);
      this.#descriptor = openSync(path, "a");
    } catch (error) {
      throw invalid(messageOf(error));
    }
  }

  /** Whether there is an answer; never for standard input, which is another one each time. */
  has(item: MediaQuestion): boolean {
    return this.#answered.has(keyOf(item));
  }

  /** Adds a line, whole: it is in the file when this returns. */
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

/** Of those whom a line answers: who said what the file is to be taken for, and who left that to its content. */
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

/** All lines but a last one that was cut off in the middle. */
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
  throw new EpalmError("invalid_option", `${where}: expected an answer as JSON, with its 'file'`);
}

function invalid(message: string): EpalmError {
  return new EpalmError("invalid_option", `--output: ${message}`);
}
