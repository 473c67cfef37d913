import { allCommands, type CompletionCommand } from "./completion-tree.js";

/** Creates the script for bash 4 and later. It also works in bash 3.2, except for the space after a word. */
export function completeBash(program: CompletionCommand): string {
  const commands = allCommands(program);
  const name = program.path.join(" ");
  const options = commands.flatMap((command) =>
    command.options.map((option) => ({ ...option, key: command.path.join(" ") })),
  );
  const choices = options.flatMap(({ key, long, short, value }) =>
    value.kind === "choice" ? [caseOf(patterns(key, long, short), `words="${value.choices.join(" ")}"`)] : [],
  );
  const others = options.flatMap(({ key, long, short, value }) =>
    value.kind === "path" || value.kind === "free" ? patterns(key, long, short) : [],
  );
  return `# ${name}: completion for bash. In ~/.bashrc: source <(${name} completion bash)
_${name}() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD - 1]}" command="${name}" words="" at
  # bash splits --option=value into three words.
  if [[ $word == "=" ]]; then word=""; elif [[ $before == "=" ]]; then before="\${COMP_WORDS[COMP_CWORD - 2]}"; fi
  for ((at = 1; at < COMP_CWORD; at++)); do
    case "$command \${COMP_WORDS[at]}" in
      ${commands
        .slice(1)
        .map(({ path }) => `"${path.join(" ")}"`)
        .join(" | \\\n      ")})
        command="$command \${COMP_WORDS[at]}" ;;
    esac
  done
  case "$command $before" in
    ${choices.join("\n    ")}
    ${others.join(" | \\\n    ")})
      # Without candidates, bash completes file names.
      COMPREPLY=(); return ;;
    *)
      case "$command" in
        ${commands.map((command) => caseOf([`"${command.path.join(" ")}"`], wordsOf(command))).join("\n        ")}
      esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -o bashdefault -F _${name} ${name}`;
}

/** Options are offered only after a dash, because otherwise they would hide the files. */
function wordsOf({ children, choices, options }: CompletionCommand): string {
  const words = [...children.map(({ path }) => path.at(-1)), ...choices].join(" ");
  const flags = options.flatMap(({ long, short }) => (short ? [long, short] : [long])).join(" ");
  return `if [[ $word == -* ]]; then words="${flags}"; else words="${words}"; fi`;
}

function patterns(key: string, long: string, short: string | undefined): string[] {
  return [long, ...(short ? [short] : [])].map((flag) => `"${key} ${flag}"`);
}

function caseOf(matches: readonly string[], then: string): string {
  return `${matches.join(" | ")}) ${then} ;;`;
}
