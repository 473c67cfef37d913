import { allCommands, type CompletionCommand, type CompletionOption } from "./completion-tree.js";

/** Creates the script for fish, which can be sourced or saved as `completions/epalm.fish` in fish's config folder. */
export function completeFish(program: CompletionCommand): string {
  const name = program.path.join(" ");
  const lines = allCommands(program).flatMap((command) => [
    ...command.children.map(
      (child) => `${start(name, command)} -f -a ${quoted(child.path.at(-1) ?? "")} -d ${quoted(child.summary)}`,
    ),
    ...(command.choices.length > 0 ? [`${start(name, command)} -f -a ${quoted(command.choices.join(" "))}`] : []),
    ...command.options.map((option) => `${start(name, command)} ${optionWords(option)}`),
  ]);
  return [`# In ~/.config/fish/config.fish: ${name} completion fish | source`, ...lines].join("\n");
}

/** Offers a command's words after its path and before the name of one of its subcommands. */
function start(name: string, { path, children }: CompletionCommand): string {
  const seen = path.slice(1).map((word) => `__fish_seen_subcommand_from ${word}`);
  const below = children.map((child) => child.path.at(-1)).join(" ");
  const conditions = [...seen, ...(below === "" ? [] : [`not __fish_seen_subcommand_from ${below}`])];
  return `complete -c ${name}${conditions.length > 0 ? ` -n ${quoted(conditions.join("; and "))}` : ""}`;
}

function optionWords({ long, short, description, value }: CompletionOption): string {
  const words = [`-l ${long.slice(2)}`, ...(short ? [`-s ${short.slice(1)}`] : [])];
  if (value.kind === "choice") words.push(`-x -a ${quoted(value.choices.join(" "))}`);
  if (value.kind === "path") words.push("-r -F");
  if (value.kind === "free") words.push("-x");
  return [...words, `-d ${quoted(description)}`].join(" ");
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
