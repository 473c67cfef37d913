import { type Command, Option } from "commander";
import { EpalmError } from "../../core/errors.js";
import { type GenerationOption, optionEntries } from "../../generation/option-table.js";
import type { GenerationOptions } from "../../index.js";
import { each, givenOnly, integer, number, probability, someText } from "./option-values.js";

const flags = optionEntries.map(([name, option]) => ({ name, flag: flagOf(option) }));

/** Adds all options of generation. Defaults are the task's in the model folder, then the library's. */
export function addGenerationOptions(command: Command): Command {
  command.optionsGroup("Decoding (defaults: the model folder's for the task, shown by `epalm inspect`):");
  for (const { flag } of flags) command.addOption(flag);
  return command.optionsGroup("Options:");
}

/** The library's options. @param given all options of the command, as commander hands them over */
export function generationOptions(given: object): GenerationOptions {
  const values = new Map<string, unknown>(Object.entries(given));
  const options = flags.map(({ name, flag }) => [name, libraryValue(values.get(flag.attributeName()))]);
  return givenOnly<GenerationOptions>(Object.fromEntries(options));
}

/** Only options that may be true or false have single strings as values. */
function libraryValue(value: unknown): unknown {
  return value === "true" || value === "false" ? value === "true" : value;
}

/** The flags that were given. */
export function givenGenerationFlags(given: object): string[] {
  const options = generationOptions(given);
  return flags.flatMap(({ name, flag }) => (Object.hasOwn(options, name) ? [nameOf(flag)] : []));
}

/** An error about an option of generation, such as `topK: …`, as one about the flag that was typed. */
export function namingFlag(error: unknown): unknown {
  if (!(error instanceof EpalmError) || error.code !== "invalid_option") return error;
  const found = flags.find(({ name }) => error.message.startsWith(`${name}:`));
  if (!found) return error;
  const { name, flag } = found;
  return new EpalmError(error.code, nameOf(flag) + error.message.slice(name.length), { cause: error });
}

function nameOf(flag: Option): string {
  return `--${flag.name()}`;
}

function flagOf(option: GenerationOption): Option {
  const flag = new Option(option.flag, option.help);
  switch (option.type) {
    case "integer":
      return flag.argParser(integer(option.least, option.most));
    case "number":
      return flag.argParser(number(option.least, option.most));
    case "probability":
      return flag.argParser(probability);
    case "boolean":
      return flag.choices(["true", "false", option.or]);
    case "strings":
      flag.description += "; may be repeated";
      return flag.argParser(each(someText));
  }
}
