import type { Command, Option } from "commander";

/** The parts of a command that a shell can complete, taken from commander's tree. */
export interface CompletionCommand {
  /** The names from the program to the command: `["epalm", "fedmae", "import"]`. */
  readonly path: readonly string[];
  readonly summary: string;
  readonly options: readonly CompletionOption[];
  readonly children: readonly CompletionCommand[];
  /** The possible values of the first argument; empty if it is a file. */
  readonly choices: readonly string[];
}

export interface CompletionOption {
  readonly long: string;
  readonly short: string | undefined;
  readonly description: string;
  readonly value: CompletionValue;
}

export type CompletionValue =
  | { readonly kind: "none" }
  | { readonly kind: "choice"; readonly choices: readonly string[] }
  | { readonly kind: "path" }
  /** A number or a string that cannot be completed. */
  | { readonly kind: "free" };

/** Placeholders of options that take paths. */
const PATH = /dir|file|path|sources|encoder|decoder/;

/** Converts a command and all its subcommands. */
export function completionTree(command: Command, above: readonly string[] = []): CompletionCommand {
  const help = command.createHelp();
  const path = [...above, command.name()];
  return {
    path,
    summary: command.summary() || command.description(),
    options: help.visibleOptions(command).flatMap((option) => completionOption(option)),
    children: help.visibleCommands(command).map((child) => completionTree(child, path)),
    choices: command.registeredArguments[0]?.argChoices ?? [],
  };
}

/** All commands of a tree; each precedes its subcommands. */
export function allCommands(command: CompletionCommand): CompletionCommand[] {
  return [command, ...command.children.flatMap(allCommands)];
}

function completionOption(option: Option): CompletionOption[] {
  const { long, short, description } = option;
  return long ? [{ long, short, description, value: completionValue(option) }] : [];
}

function completionValue({ required, optional, argChoices, flags }: Option): CompletionValue {
  if (!required && !optional) return { kind: "none" };
  if (argChoices) return { kind: "choice", choices: argChoices };
  return { kind: PATH.test(flags.slice(flags.indexOf("<"))) ? "path" : "free" };
}
