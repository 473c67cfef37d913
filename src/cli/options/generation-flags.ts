import { type Command, Option } from "commander";
import { EpalmError } from "../../core/errors.js";
import { type GenerationOption, type OptionName, optionEntries, optionTable } from "../../generation/option-table.js";
import type { GenerationOptions } from "../../index.js";
import { namingFlags } from "./naming-flags.js";
import { biases, each, givenOnly, integer, jsonObject, number, probability, someText } from "./option-values.js";

const flags = optionEntries.map(([name, option]) => ({ name, flag: flagOf(option) }));

/** Adds all generation options. Their defaults come from the task in the model folder, then from the library. */
export function addGenerationOptions(command: Command): Command {
  command.optionsGroup("Generation (defaults: those of the task in the model folder, which `epalm inspect` shows):");
  for (const { flag } of flags) command.addOption(flag);
  return command.optionsGroup("Options:");
}

/** The generation options for the library. @param given all options of the command, as commander returns them */
export function generationOptions(given: object): GenerationOptions {
  const values = new Map<string, unknown>(Object.entries(given));
  const options = flags.map(({ name, flag }) => [name, libraryValue(name, values.get(flag.attributeName()))]);
  return givenOnly<GenerationOptions>(Object.fromEntries(options));
}

/** Boolean options are strings among given choices; all others have been parsed. */
function libraryValue(name: OptionName, value: unknown): unknown {
  if (optionTable[name].type !== "boolean") return value;
  return value === "true" || value === "false" ? value === "true" : value;
}

/** The generation flags that the user gave, such as `--beams`. */
export function givenGenerationFlags(given: object): string[] {
  const options = generationOptions(given);
  return flags.flatMap(({ name, flag }) => (Object.hasOwn(options, name) ? [nameOf(flag)] : []));
}

/** The flags by the library's names, which its messages use. */
const flagNames = new Map<string, string>([
  ...flags.map(({ name, flag }) => [name, nameOf(flag)] as const),
  ["question", "--question"],
  ["minConfidence", "--min-confidence"],
]);

/** The library's names that cannot be mistaken for ordinary words, anywhere in a message. */
const CAMEL_CASE = /\b[a-z]+(?:[A-Z][a-z]*)+\b/g;

/**
 * Rewrites an error about a question or a generation option, such as `topK: …`, to name the flags as the user typed
 * them. Other errors are returned unchanged.
 */
export function namingFlag(error: unknown): unknown {
  const named = namingFlags(error, flagNames);
  if (!(named instanceof EpalmError) || named === error) return error;
  const message = named.message.replace(CAMEL_CASE, (name) => flagNames.get(name) ?? name);
  return new EpalmError(named.code, message, { cause: error });
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
    case "string":
      return flag.argParser(someText);
    case "schema":
      flag.description += "; as JSON";
      return flag.argParser(jsonObject);
    case "biases":
      flag.description += "; may be repeated";
      return flag.argParser(biases(option.bound));
  }
}
