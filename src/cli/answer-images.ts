import { type Command, InvalidArgumentError } from "commander";
import { EpalmError, type ImageInput } from "../index.js";
import { MAX_IMAGE_BYTES } from "../media/image.js";
import { mediaName } from "../media/read-media.js";
import type { CliContext } from "./context.js";
import { namingFlag } from "./generation-flags.js";
import { untilAborted } from "./interruption.js";
import { print } from "./output.js";
import { readStandardInput } from "./standard-input.js";

/** Names standard input. */
const STANDARD_INPUT = "-";

/** How answers are shown. */
export interface AnswerFlags {
  readonly json?: true;
  readonly scores?: true;
  readonly stream?: true;
}

/** What a model says about one picture. */
export interface Reply {
  readonly texts: readonly { readonly text: string; readonly score: number }[];
  /** For `--json`: the library's whole answer. */
  readonly whole: object;
}

/** Asks the model about one picture; `onText` is there when the text is shown while it grows. */
export type Ask = (image: ImageInput, onText: ((piece: string) => void) | undefined) => Promise<Reply>;

/** Adds `<images...>`, and how their answers are shown. */
export function addAnswerOptions(command: Command): Command {
  return command
    .argument("<images...>", "files, or - for standard input", collectImage)
    .option("--adapter <name>", "adapter (default: the first that was trained for the task)")
    .option("--json", "print one JSON object per picture")
    .option("--scores", "print each text's score before it");
}

function collectImage(image: string, previous: readonly string[] = []): string[] {
  if (image === STANDARD_INPUT && previous.includes(image)) {
    throw new InvalidArgumentError("Standard input holds one picture.");
  }
  return [...previous, image];
}

/**
 * Asks about each picture and prints the answers: texts alone for one picture, `path<TAB>text` for several. A
 * picture that cannot be read does not keep the others from being answered.
 */
export async function answerImages(
  images: readonly string[],
  flags: AnswerFlags,
  context: CliContext,
  ask: Ask,
): Promise<void> {
  for (const image of images) {
    const prefix = images.length > 1 ? `${image}\t` : "";
    const input = image === STANDARD_INPUT ? await pictureFromStandardInput(context) : image;
    try {
      if (flags.stream) await streamReply(input, prefix, ask);
      else printReply(image, await ask(input, undefined), prefix, flags);
    } catch (error) {
      if (!isAboutPicture(error, input)) throw namingFlag(error);
      context.reportError(error);
    }
  }
}

function pictureFromStandardInput({ signal }: CliContext): Promise<Uint8Array> {
  return untilAborted(readStandardInput(MAX_IMAGE_BYTES), signal);
}

async function streamReply(input: ImageInput, prefix: string, ask: Ask): Promise<void> {
  let next = prefix;
  await ask(input, (piece) => {
    process.stdout.write(next + (prefix === "" ? piece : oneLine(piece)));
    next = "";
  });
  print(next);
}

function printReply(
  image: string,
  { texts, whole }: Reply,
  prefix: string,
  { json, scores }: AnswerFlags,
): void {
  if (json) {
    print(JSON.stringify({ image, ...whole }));
    return;
  }
  for (const { text, score } of texts) {
    print(`${prefix}${scores ? `${score.toFixed(4)}\t` : ""}${prefix === "" ? text : oneLine(text)}`);
  }
}

/** So that a picture has one line, whatever the model writes. */
function oneLine(text: string): string {
  return text.replace(/\s/g, " ");
}

/** Errors about a picture begin with what the library calls it; others would come again with every picture. */
function isAboutPicture(error: unknown, input: string | Uint8Array): boolean {
  return error instanceof EpalmError && error.message.startsWith(`${mediaName(input)}: `);
}
