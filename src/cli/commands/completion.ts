import { Argument, type Command } from "commander";
import { completeBash } from "../completion/complete-bash.js";
import { completeFish } from "../completion/complete-fish.js";
import { completeZsh } from "../completion/complete-zsh.js";
import { type CompletionCommand, completionTree } from "../completion/completion-tree.js";
import { styleHeadings } from "../output/colours.js";
import { print } from "../output/output.js";

const shells = { bash: completeBash, zsh: completeZsh, fish: completeFish } satisfies Readonly<
  Record<string, (program: CompletionCommand) => string>
>;

const examples = `
The script matches the installed version of epalm; print it again after an update.

Examples:
  source <(epalm completion bash)                                      # in ~/.bashrc
  source <(epalm completion zsh)                                       # in ~/.zshrc, after compinit
  epalm completion fish > ~/.config/fish/completions/epalm.fish`;

/**
 * `epalm completion` prints a completion script. The scripts are specific to epalm because the maintained library for
 * commander starts the program at every key press and prevents shells from completing file names.
 */
export function addCompletionCommand(program: Command): void {
  program
    .command("completion")
    .summary("print a completion script for a shell")
    .description("Prints a script for a shell that completes commands, options and their values.")
    .addArgument(new Argument("<shell>", "shell that reads the script").choices(Object.keys(shells)))
    .addHelpText("after", styleHeadings(examples))
    .action((shell: keyof typeof shells) => print(shells[shell](completionTree(program))));
}
