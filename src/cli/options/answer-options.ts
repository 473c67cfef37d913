import { type Command, InvalidArgumentError, Option } from "commander";
import type { TrustOptions } from "../../pipeline.js";
import { STANDARD_INPUT } from "../standard-input.js";
import { type ModalityFlags, modalityOption } from "./modality-option.js";
import { number, someText } from "./option-values.js";

/** The options that `caption` and `vqa` share, except those of generation. */
export interface AnswerFlags extends ModalityFlags {
  readonly adapter?: string;
  readonly json?: true;
  readonly output?: string;
  readonly scores?: true;
  readonly stream?: true;
  readonly refuseUnfamiliar?: true;
  readonly minConfidence?: number;
  readonly abstention?: string;
  readonly mediaGain?: true;
}

/** The trust options for the library. */
export function trustOptions({ refuseUnfamiliar, minConfidence, abstention, mediaGain }: AnswerFlags): TrustOptions {
  return { refuseUnfamiliar, minConfidence, abstention, mediaGain };
}

/** The part of a command's help that is about several files. */
export const manyFiles = `
One command can process images, audio files and videos together, if the model accepts them.

With --json (or --jsonl), the command prints one line of JSON per file as soon as the file is processed. If a file
fails, its line contains the error, the other files are still processed, and the exit code is 1. With --output FILE,
the lines are appended to FILE instead, and a terminal shows the progress. The same command resumes an interrupted
run: it skips files that already have an answer and tries failed files again.`;

/** Adds the argument for the files and the options for the output. */
export function addAnswerOptions(command: Command, files: "<files...>" | "[files...]"): Command {
  return command
    .argument(files, "images, audio files or videos; - reads standard input", collectFile)
    .addOption(modalityOption("how to interpret the files (default: by their content)"))
    .option("--adapter <name>", "adapter to use (default: the first one trained for the task and the modality)")
    .option("--json", "print one line of JSON per file")
    .addOption(new Option("--jsonl", "same as --json").implies({ json: true }))
    .addOption(
      new Option("-o, --output <file>", "append the lines of JSON to a file; skip files that it already answers")
        .argParser(someText)
        .implies({ json: true }),
    )
    .option("--scores", "print the score before each text")
    .option("--refuse-unfamiliar", "fail for media that are unlike those of the adapter's training")
    .option("--min-confidence <x>", "replace answers with a smaller confidence, 0 to 1", number(0, 1))
    .addOption(
      new Option("--abstention <text>", "the text in their place (default: I do not know.)").argParser(someText),
    )
    .option("--media-gain", "with --json: also report what the medium contributes to each answer");
}

function collectFile(file: string, previous: readonly string[] = []): string[] {
  if (file === STANDARD_INPUT && previous.includes(file)) {
    throw new InvalidArgumentError("Standard input can be given only once.");
  }
  return [...previous, file];
}
