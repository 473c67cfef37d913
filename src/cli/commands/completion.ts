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
The script is made of the commands as they are; print it again after an update.

Examples:
  source <(epalm completion bash)                                      # in ~/.bashrc
  source <(epalm completion zsh)                                       # in ~/.zshrc, after compinit
  epalm completion fish > ~/.config/fish/completions/epalm.fish`;

/**
 * `epalm completion`: what shells complete commands and options with. The scripts are our own: the maintained library
 * for commander starts the program at every key, and keeps shells from completing files.
 */
export function addCompletionCommand(program: Command): void {
  program
    .command("completion")
    .summary("print a script that completes commands and options")
    .description("Prints a script with which a shell completes commands, options and their values.")
    .addArgument(new Argument("<shell>", "for which shell").choices(Object.keys(shells)))
    .addHelpText("after", styleHeadings(examples))
    .action((shell: keyof typeof shells) => print(shells[shell](completionTree(program))));
}
