import { untilAborted } from "../../core/abort.js";
import { EpalmError } from "../../core/errors.js";
import { whileLocked } from "../../core/lock-path.js";
import type { Answer, MediumInput, Model } from "../../index.js";
import { MAX_MEDIA_BYTES } from "../../media/media-limits.js";
import { mediaName } from "../../media/read-media.js";
import type { CliContext } from "../context.js";
import type { AnswerFlags } from "../options/answer-options.js";
import { namingFlag } from "../options/generation-flags.js";
import type { MediaQuestion } from "../options/media-questions.js";
import { checkModality } from "../options/modality-option.js";
import { readStandardInput, STANDARD_INPUT } from "../standard-input.js";
import { AnswerFile, type AnswerLine } from "./answer-file.js";
import { BatchProgress } from "./batch-progress.js";
import { formatCount, note, print, printPart } from "./output.js";

/** The answer of a model about one medium. */
export interface Reply {
  readonly texts: readonly { readonly text: string; readonly score: number }[];
  /** The complete answer of the library, for `--json`. */
  readonly whole: Pick<Answer, "adapter" | "familiarity" | "unfamiliar">;
}

/** The texts of an answer; only the text in its place if it was replaced. */
export function textsOf({ text, texts, abstained }: Answer): Reply["texts"] {
  return abstained ? [{ text, score: texts[0]?.score ?? 0 }] : texts;
}

/** Sends a request to the model. `onText` is defined if the text is shown while it is generated. */
export type AskModel = (
  medium: MediumInput,
  item: MediaQuestion,
  onText: ((piece: string) => void) | undefined,
) => Promise<Reply>;

type OpenedModel = Pick<Model, "manifest" | "modalities">;

/** The requests of one command. */
export interface AnswerRun {
  readonly questions: readonly MediaQuestion[];
  readonly flags: AnswerFlags;
  readonly context: CliContext;
  readonly model: OpenedModel;
  readonly askModel: AskModel;
}

/**
 * Sends the requests to the model one after the other and prints the answers: only the text for one file,
 * `path<TAB>text` for several files, or lines of JSON. If a file cannot be read, the others are still processed.
 *
 * @throws invalid_option if the model does not accept the modality of `--modality`; in_use if another process writes
 *   to `--output`
 */
export async function answerMedia(run: AnswerRun): Promise<void> {
  checkModality(run.flags, run.model);
  return whileLocked(run.flags.output, () => answerAll(run));
}

async function answerAll({ questions, flags, context, model, askModel }: AnswerRun): Promise<void> {
  const { name } = model.manifest;
  const output = flags.output === undefined ? undefined : new AnswerFile(flags.output, questions, name);
  const open = questions.filter((item) => !output?.has(item));
  if (open.length < questions.length) {
    note(`${formatCount(questions.length - open.length)} of ${formatCount(questions.length)} are already answered`);
  }
  const inputOf = inputReader(context);
  const progress = new BatchProgress(open.length, !output && process.stdout.isTTY);
  const writeLine = (line: AnswerLine) => (output ? output.add(line) : print(JSON.stringify(line)));
  try {
    for (const item of open) {
      // A file that is given twice has been answered in this run.
      if (output?.has(item)) continue;
      const input = await inputOf(item);
      const prefix = questions.length > 1 ? prefixOf(item) : "";
      const head = headOf(item);
      try {
        refuseUntaken(item, model);
        refuseEmpty(input);
        if (flags.stream) warnUnfamiliar(item, await streamReply(input, item, prefix, askModel));
        else {
          const reply = await askModel(input, item, undefined);
          if (flags.json) writeLine({ ...head, ...reply.whole });
          else {
            printTexts(reply.texts, prefix, flags);
            warnUnfamiliar(item, reply);
          }
        }
        progress.done(true);
      } catch (error) {
        const own = errorAboutOne(error, input, item, flags, model);
        if (!own) throw namingFlag(error);
        progress.aside(() => context.reportError(own));
        if (flags.json) writeLine({ ...head, error: { code: own.code, message: own.message } });
        progress.done(false);
      }
    }
  } finally {
    progress.stop();
    output?.close();
  }
}

/** The keys at the beginning of a line of JSON. */
function headOf({ file, modality, question }: MediaQuestion): AnswerLine {
  return {
    file,
    ...(modality === undefined ? {} : { modality }),
    ...(question === undefined ? {} : { question }),
  };
}

/** Rejects a line of a file of questions whose modality the model does not accept. */
function refuseUntaken({ file, path, modality }: MediaQuestion, { modalities }: OpenedModel): void {
  if (modality === undefined || modalities.includes(modality)) return;
  const expected = `expected ${modalities.join(" or ")}, which the model accepts, got ${modality}`;
  throw new EpalmError("invalid_option", `${path ?? file}: ${expected}`);
}

/** Empty input has no format, and would be reported as an unsupported medium. */
function refuseEmpty(input: string | Uint8Array): void {
  if (isEmptyInput(input)) throw new EpalmError("invalid_media", "standard input is empty");
}

function isEmptyInput(input: string | Uint8Array): boolean {
  return typeof input !== "string" && input.length === 0;
}

/** Reads standard input only once, even if there are several questions about it. */
function inputReader({ signal }: CliContext) {
  let standardInput: Promise<Uint8Array> | undefined;
  return async ({ file, path }: MediaQuestion): Promise<string | Uint8Array> => {
    if (path !== undefined) return path;
    if (file !== STANDARD_INPUT) return file;
    standardInput ??= readStandardInput(MAX_MEDIA_BYTES);
    return untilAborted(standardInput, signal);
  };
}

/** The start of each line if there are several requests; it includes the question if there are different ones. */
function prefixOf({ file, question, hasOwnQuestion }: MediaQuestion): string {
  return hasOwnQuestion ? `${oneLine(file)}\t${oneLine(question ?? "")}\t` : `${oneLine(file)}\t`;
}

/** A line on standard error if the adapter has not seen media like this one. */
function warnUnfamiliar({ file }: MediaQuestion, { whole }: Reply): void {
  const { adapter, familiarity = 0, unfamiliar } = whole;
  if (unfamiliar)
    note(`${file}: adapter '${adapter}' has not seen media like this one (familiarity ${familiarity.toFixed(4)})`);
}

async function streamReply(
  input: MediumInput,
  item: MediaQuestion,
  prefix: string,
  askModel: AskModel,
): Promise<Reply> {
  let next = prefix;
  const reply = await askModel(input, item, (piece) => {
    printPart(next + (prefix === "" ? piece : oneLine(piece)));
    next = "";
  });
  print(next);
  return reply;
}

function printTexts(texts: Reply["texts"], prefix: string, { scores }: AnswerFlags): void {
  for (const { text, score } of texts) {
    print(`${prefix}${scores ? `${score.toFixed(4)}\t` : ""}${prefix === "" ? text : oneLine(text)}`);
  }
}

/** Replaces line breaks and tabs, so that each answer is one line. */
function oneLine(text: string): string {
  return text.replace(/\s/g, " ");
}

/**
 * Returns an error that concerns only this file: the library's errors about a file begin with its name, only this
 * question may be too long, or the adapter may be missing only for this modality. Undefined for errors that every file
 * would cause.
 */
function errorAboutOne(
  error: unknown,
  input: string | Uint8Array,
  { file, hasOwnQuestion }: MediaQuestion,
  { adapter }: AnswerFlags,
  { modalities }: OpenedModel,
): EpalmError | undefined {
  if (!(error instanceof EpalmError)) return undefined;
  const { code, message } = error;
  if (isEmptyInput(input)) return error;
  if (code === "unfamiliar")
    return new EpalmError(code, `${file}: ${message.slice("media: ".length)}`, { cause: error });
  const about = `${mediaName(input)}: `;
  if (message.startsWith(about)) {
    return typeof input === "string"
      ? error
      : new EpalmError(code, `standard input: ${message.slice(about.length)}`, { cause: error });
  }
  if (hasOwnQuestion && (code === "too_large" || message.startsWith("question: "))) return error;
  const lacksAdapter = code === "not_found" && adapter === undefined && modalities.length > 1;
  return lacksAdapter ? new EpalmError(code, `${file}: ${message}`, { cause: error }) : undefined;
}
