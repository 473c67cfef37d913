import { allCommands, completionTree } from "../../src/cli/completion/completion-tree.js";
import { createProgram } from "../../src/cli/program.js";
import { readEnvironment } from "../../src/core/environment.js";
import { openModel } from "./cli-process.js";

/** The declaration of the command line. */
export const program = createProgram({
  environment: readEnvironment({}),
  signal: new AbortController().signal,
  reportError: () => undefined,
  openModel,
});

/** All its commands with their options. */
export const declaredCommands = allCommands(completionTree(program));
