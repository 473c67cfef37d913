import { Command } from "commander";
import type { Environment } from "../core/environment.js";
import { addBenchCommand } from "./commands/bench.js";
import { addBuildCommand } from "./commands/build.js";
import { addCaptionCommand } from "./commands/caption.js";
import { addCompletionCommand } from "./commands/completion.js";
import { addEvalCommand } from "./commands/eval.js";
import { addFedMaeCommand } from "./commands/fedmae.js";
import { addInspectCommand } from "./commands/inspect.js";
import { addMeasureCommand } from "./commands/measure.js";
import { addServeCommand } from "./commands/serve.js";
import { addTrainCommand } from "./commands/train.js";
import { addVqaCommand } from "./commands/vqa.js";
import type { CliContext } from "./context.js";
import { hasColours, styled, styleHeadings } from "./output/colours.js";
import { packageVersion } from "./package-version.js";

const notes = `
Exit codes:
  0    all went well
  1    something failed: a file, a download, one of several pictures
  2    the command line cannot be used: an unknown option, a value out of its limits
  130  Ctrl-C

Environment:
  HF_TOKEN     token for models of the hub that are private or gated
  HF_ENDPOINT  another address of the hub
  EPALM_CACHE  where downloads are kept (default: HF_HOME/epalm, else ~/.cache/epalm/hub)
  EPALM_DEBUG  1: errors say where in the code they arose
  NO_COLOR     no colours, not even on a terminal
  FORCE_COLOR  colours everywhere

Examples:
  epalm build --encoder google/vit-base-patch16-224 --decoder facebook/opt-350m \\
    --adapter coco=caption.pth --output captioner
  epalm caption cat.jpg --model captioner`;

/** All commands, ready to parse; errors of parsing are told in one line and thrown as `CommanderError`. */
export function createProgram(context: CliContext): Command {
  const program = new Command("epalm")
    .description("Lets a frozen language model talk about what a frozen encoder sees (eP-ALM).")
    .version(packageVersion(), "-V, --version", "print the version")
    .configureOutput({
      outputError: (text, write) => write(errorLine(asOneLine(text), context.environment)),
      // Commander takes styles out where they may not be.
      getOutHasColors: () => hasColours(process.stdout, context.environment),
      getErrHasColors: () => hasColours(process.stderr, context.environment),
    })
    .configureHelp({ styleTitle: (title) => styled("bold", title) })
    // Commands inherit it, and the above; they must be added after it.
    .exitOverride()
    .addHelpText("after", styleHeadings(notes));
  // Declarations alone: each imports what its command does when that runs, so that help and errors come at once.
  for (const add of [
    addBuildCommand,
    addInspectCommand,
    addCaptionCommand,
    addVqaCommand,
    addServeCommand,
    addMeasureCommand,
    addBenchCommand,
    addTrainCommand,
    addEvalCommand,
    addFedMaeCommand,
    addCompletionCommand,
  ]) {
    add(program, context);
  }
  return program;
}

/** What is wrong, as a line for standard error. */
export function errorLine(text: string, environment: Environment): string {
  const name = "epalm:";
  return `${hasColours(process.stderr, environment) ? styled("red", name) : name} ${text}\n`;
}

function asOneLine(text: string): string {
  return text
    .replace(/^error: /, "")
    .replace(/\s+/g, " ")
    .trim();
}
