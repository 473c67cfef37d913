import { Command } from "commander";
import type { Environment } from "../core/environment.js";
import { addBatchCommand } from "./commands/batch.js";
import { addBenchCommand } from "./commands/bench.js";
import { addBuildCommand } from "./commands/build.js";
import { addCalibrateCommand } from "./commands/calibrate.js";
import { addCaptionCommand } from "./commands/caption.js";
import { addCompletionCommand } from "./commands/completion.js";
import { addDoctorCommand } from "./commands/doctor.js";
import { addEvalCommand } from "./commands/eval.js";
import { addFedMaeCommand } from "./commands/fedmae.js";
import { addInspectCommand } from "./commands/inspect.js";
import { addMeasureCommand } from "./commands/measure.js";
import { addMergeCommand } from "./commands/merge.js";
import { addServeCommand } from "./commands/serve.js";
import { addTrainCommand } from "./commands/train.js";
import { addVqaCommand } from "./commands/vqa.js";
import { addWorkerCommand } from "./commands/worker.js";
import type { CliContext } from "./context.js";
import { refuseRepeatedOptions } from "./options/refuse-repeated-options.js";
import { hasColours, styled, styleHeadings } from "./output/colours.js";
import { escapeControls } from "./output/output.js";
import { packageVersion } from "./package-version.js";

const notes = `
Exit codes:
  0    success
  1    a failure: a file, a download, at least one of several files
  2    an invalid command line: an unknown option, a value outside its range
  130  interrupted with Ctrl-C

Environment:
  HF_TOKEN       token for private and gated models on the Hugging Face Hub
  HF_ENDPOINT    address of the hub (default: https://huggingface.co)
  EPALM_CACHE    folder for downloads (default: HF_HOME/epalm, or else ~/.cache/epalm/hub)
  EPALM_THREADS  threads for computation (default: one per core)
  EPALM_DEBUG    1 adds a stack trace to errors
  NO_COLOR       disables colours, even on a terminal
  FORCE_COLOR    enables colours, even in files and pipes

Examples:
  epalm build --encoder google/vit-base-patch16-224 --decoder facebook/opt-125m --output captioner
  epalm train captions.yaml
  epalm caption cat.jpg --model captioner`;

/** Creates the program with all commands. A parsing error is printed on one line and thrown as `CommanderError`. */
export function createProgram(context: CliContext): Command {
  const program = new Command("epalm")
    .description(
      "Describes images, audio and video, and answers questions about them, with a frozen encoder and a frozen language model (eP-ALM).",
    )
    .version(packageVersion(), "-V, --version", "print the version")
    .configureOutput({
      outputError: (text, write) => write(errorLine(asOneLine(text), context.environment)),
      // Where these return false, commander removes styles from the output.
      getOutHasColors: () => hasColours(process.stdout, context.environment),
      getErrHasColors: () => hasColours(process.stderr, context.environment),
    })
    .configureHelp({ styleTitle: (title) => styled("bold", title) })
    // Commands inherit this and the settings above, so they are added afterwards.
    .exitOverride()
    .addHelpText("after", styleHeadings(notes));
  // These only declare the commands. A command imports its implementation when it runs, which keeps `--help` fast.
  for (const add of [
    addBuildCommand,
    addInspectCommand,
    addCaptionCommand,
    addVqaCommand,
    addMergeCommand,
    addServeCommand,
    addWorkerCommand,
    addBatchCommand,
    addMeasureCommand,
    addBenchCommand,
    addTrainCommand,
    addEvalCommand,
    addCalibrateCommand,
    addFedMaeCommand,
    addDoctorCommand,
    addCompletionCommand,
  ]) {
    add(program, context);
  }
  refuseRepeatedOptions(program);
  return program;
}

/** An error message as a line for standard error. */
export function errorLine(text: string, environment: Environment): string {
  const name = "epalm:";
  return `${hasColours(process.stderr, environment) ? styled("red", name) : name} ${escapeControls(text)}\n`;
}

function asOneLine(text: string): string {
  return text
    .replace(/^error: /, "")
    .replace(/\s+/g, " ")
    .trim();
}
