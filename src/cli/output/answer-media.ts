import { untilAborted } from "../../core/abort.js";
import { EpalmError } from "../../core/errors.js";
import type { MediumInput, Model } from "../../index.js";
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
import { formatCount, note, print } from "./output.js";

/** What a model says about one medium. */
export interface Reply {
  readonly texts: readonly { readonly text: string; readonly score: number }[];
  /** For `--json`: the library's whole answer. */
  readonly whole: object;
}

/** Asks a model; `onText` is there when the text is shown while it grows. */
export type AskModel = (
  medium: MediumInput,
  item: MediaQuestion,
  onText: ((piece: string) => void) | undefined,
) => Promise<Reply>;

type OpenedModel = Pick<Model, "manifest" | "modalities">;

/**
 * Asks about each file and prints the answers: texts alone for one, `path<TAB>text` for several, or lines of JSON. One
 * that cannot be read does not keep the others from being answered.
 *
 * @throws invalid_option where the model does not take what all are to be taken for
 */
export async function answerMedia(
  questions: readonly MediaQuestion[],
  flags: AnswerFlags,
  context: CliContext,
  model: OpenedModel,
  askModel: AskModel,
): Promise<void> {
  checkModality(flags, model);
  const { name } = model.manifest;
  const output = flags.output === undefined ? undefined : new AnswerFile(flags.output, questions, name);
  const open = questions.filter((item) => !output?.has(item));
  if (open.length < questions.length) {
    note(`${formatCount(questions.length - open.length)} of ${formatCount(questions.length)} are answered already`);
  }
  const progress = new BatchProgress(open.length, !output && process.stdout.isTTY);
  const writeLine = (line: AnswerLine) => (output ? output.add(line) : print(JSON.stringify(line)));
  try {
    for (const item of open) {
      // Named twice: known by now.
      if (output?.has(item)) continue;
      const input = await inputOf(item, context);
      const prefix = questions.length > 1 ? prefixOf(item) : "";
      const head = headOf(item);
      try {
        refuseUntaken(item, model);
        if (flags.stream) await streamReply(input, item, prefix, askModel);
        else {
          const { texts, whole } = await askModel(input, item, undefined);
          if (flags.json) writeLine({ ...head, ...whole });
          else printTexts(texts, prefix, flags);
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

/** What a line of JSON begins with. */
function headOf({ file, modality, question }: MediaQuestion): AnswerLine {
  return {
    file,
    ...(modality === undefined ? {} : { modality }),
    ...(question === undefined ? {} : { question }),
  };
}

/** Where a line of a file of questions names what the model does not take. */
function refuseUntaken({ file, path, modality }: MediaQuestion, { modalities }: OpenedModel): void {
  if (modality === undefined || modalities.includes(modality)) return;
  const expected = `expected ${modalities.join(" or ")}, which the model takes, got ${modality}`;
  throw new EpalmError("invalid_option", `${path ?? file}: ${expected}`);
}

async function inputOf({ file, path }: MediaQuestion, { signal }: CliContext): Promise<string | Uint8Array> {
  if (path !== undefined) return path;
  if (file !== STANDARD_INPUT) return file;
  return untilAborted(readStandardInput(MAX_MEDIA_BYTES), signal);
}

/** Before each line, where there are several files; the question, where each has its own. */
function prefixOf({ file, question, hasOwnQuestion }: MediaQuestion): string {
  return hasOwnQuestion ? `${file}\t${oneLine(question ?? "")}\t` : `${file}\t`;
}

async function streamReply(input: MediumInput, item: MediaQuestion, prefix: string, askModel: AskModel): Promise<void> {
  let next = prefix;
  await askModel(input, item, (piece) => {
    process.stdout.write(next + (prefix === "" ? piece : oneLine(piece)));
    next = "";
  });
  print(next);
}

function printTexts(texts: Reply["texts"], prefix: string, { scores }: AnswerFlags): void {
  for (const { text, score } of texts) {
    print(`${prefix}${scores ? `${score.toFixed(4)}\t` : ""}${prefix === "" ? text : oneLine(text)}`);
  }
}

/** So that a file has one line, whatever the model writes. */
function oneLine(text: string): string {
  return text.replace(/\s/g, " ");
}

/**
 * An error that other files need not have, too: those about a file begin with what the library calls it, a question
 * that is too long may be this one's alone, and an adapter may be missing for this kind of media only. Undefined for
 * errors that would come again with every file.
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
