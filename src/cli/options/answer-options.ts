import { type Command, InvalidArgumentError, Option } from "commander";
import { STANDARD_INPUT } from "../standard-input.js";
import { type ModalityFlags, modalityOption } from "./modality-option.js";
import { someText } from "./option-values.js";

/** How answers are shown. */
export interface AnswerFlags extends ModalityFlags {
  readonly adapter?: string;
  readonly json?: true;
  readonly output?: string;
  readonly scores?: true;
  readonly stream?: true;
}

/** What the help of a command says about many files. */
export const manyFiles = `
Pictures, sounds and videos may stand side by side, as far as the model takes them.

With --json (or --jsonl) each file has a line of JSON as soon as it is done; that of one which failed holds the
error, and the others go on. --output FILE writes these lines into a file instead, with the progress shown on a terminal.
The same command again goes on where the file ends: what was answered is passed over, what failed is tried again. Where
a file failed, the exit code is 1.`;

/** Adds the files that are asked about, and how answers are shown. */
export function addAnswerOptions(command: Command, files: "<files...>" | "[files...]"): Command {
  return command
    .argument(files, "pictures, sounds or videos, or - for standard input", collectFile)
    .addOption(modalityOption("what they are to be taken for (default: what their content says)"))
    .option("--adapter <name>", "adapter (default: the first that was trained for the task and the medium)")
    .option("--json", "print a line of JSON per file")
    .addOption(new Option("--jsonl", "the same as --json").implies({ json: true }))
    .addOption(
      new Option("-o, --output <file>", "add these lines to a file; what it answers already is passed over")
        .argParser(someText)
        .implies({ json: true }),
    )
    .option("--scores", "print each text's score before it");
}

function collectFile(file: string, previous: readonly string[] = []): string[] {
  if (file === STANDARD_INPUT && previous.includes(file)) {
    throw new InvalidArgumentError("Standard input holds one file.");
  }
  return [...previous, file];
}
