import { allCommands, type CompletionCommand, type CompletionOption } from "./completion-tree.js";

/** Creates the script for zsh, which can be sourced or saved as `_epalm` in a folder of `fpath`. */
export function completeZsh(program: CompletionCommand): string {
  const name = program.path.join(" ");
  return `#compdef ${name}
# In ~/.zshrc, after compinit: source <(${name} completion zsh)
${allCommands(program).map(functionOf).join("\n")}
if [[ "$funcstack[1]" == "_${name}" ]]; then _${name} "$@"; else compdef _${name} ${name}; fi`;
}

function functionOf(command: CompletionCommand): string {
  const { options, children, choices } = command;
  const specs = options.map(optionSpec);
  if (children.length === 0) {
    const rest = choices.length > 0 ? `1:what:(${choices.join(" ")})` : "*:file:_files";
    return `${functionName(command)}() {\n  _arguments ${[...specs, quoted(rest)].join(" \\\n    ")}\n}`;
  }
  const described = children.map((child) => quoted(`${escaped(child.path.at(-1) ?? "")}:${escaped(child.summary)}`));
  const cases = children.map((child) => `      ${child.path.at(-1)}) ${functionName(child)} ;;`);
  return `${functionName(command)}() {
  local curcontext="$curcontext" state
  local -a line commands
  commands=(${described.join("\n    ")})
  _arguments -C ${[...specs, "'1: :->command'", "'*:: :->rest'"].join(" \\\n    ")}
  case $state in
    command) _describe command commands ;;
    rest) case $line[1] in
${cases.join("\n")}
    esac ;;
  esac
}`;
}

/** All options are offered repeatedly; the command itself rejects those that must not be repeated. */
function optionSpec({ long, short, description, value }: CompletionOption): string {
  const action = {
    none: () => "",
    choice: (choices: readonly string[]) => `:value:(${choices.join(" ")})`,
    path: () => ":path:_files",
    free: () => ":value: ",
  };
  const tail = value.kind === "choice" ? action.choice(value.choices) : action[value.kind]();
  const flags = short ? `{${short},${long}}` : long;
  return `'*'${flags}${quoted(`[${escaped(description)}]${tail}`)}`;
}

function functionName({ path }: CompletionCommand): string {
  return `_${path.join("_")}`;
}

/** Escapes the characters with a special meaning in a spec of `_arguments` or `_describe`. */
function escaped(text: string): string {
  return text.replace(/[\\[\]:]/g, "\\$&");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
