import { type Command, Option } from "commander";
import {
  type GenerationSettings,
  MAX_LENGTH_PENALTY,
  MAX_NEW_TOKENS,
  MAX_SEQUENCES,
  MAX_TEMPERATURE,
  MAX_TOP_K,
} from "../../generation/options.js";
import { EpalmError, type GenerationOptions } from "../../index.js";
import { each, givenOnly, integer, number, probability, someText } from "./option-values.js";

/** Options of decoding, as commander hands them over. */
export interface GenerationFlags {
  readonly maxTokens?: number;
  readonly minTokens?: number;
  readonly beams?: number;
  readonly lengthPenalty?: number;
  readonly earlyStopping?: "true" | "false" | "never";
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed?: number;
  readonly stop?: string[];
  readonly sequences?: number;
}

const earlyStopping = { true: true, false: false, never: "never" } as const;

/** Adds all options of decoding. Defaults are the task's in the model folder, then the library's. */
export function addGenerationOptions(command: Command): Command {
  return command
    .optionsGroup("Decoding (defaults: the model folder's for the task, shown by `epalm inspect`):")
    .option("--max-tokens <n>", "most tokens of a text", integer(1, MAX_NEW_TOKENS))
    .option("--min-tokens <n>", "fewest tokens of a text (default: 0)", integer(0, MAX_NEW_TOKENS))
    .option("--beams <n>", "sequences that beam search follows; 1: none", integer(1, MAX_SEQUENCES))
    .option(
      "--length-penalty <x>",
      "with beams: above 0 favours long texts",
      number(-MAX_LENGTH_PENALTY, MAX_LENGTH_PENALTY),
    )
    .addOption(
      new Option("--early-stopping <when>", "with beams: stop when enough texts ended").choices(
        Object.keys(earlyStopping),
      ),
    )
    .option(
      "--temperature <x>",
      "above 0: draw tokens, the more evenly the higher",
      number(0, MAX_TEMPERATURE),
    )
    .option("--top-k <n>", "when drawing: only so many best tokens", integer(1, MAX_TOP_K))
    .option("--top-p <p>", "when drawing: only the best tokens of this probability together", probability)
    .option(
      "--seed <n>",
      "when drawing: the same seed draws the same (default: 0)",
      integer(0, Number.MAX_SAFE_INTEGER),
    )
    .option("--stop <text>", "text that ends an answer and is cut off; may be repeated", each(someText))
    .option(
      "--sequences <n>",
      "how many texts are made, with beams or a temperature",
      integer(1, MAX_SEQUENCES),
    )
    .optionsGroup("Options:");
}

/** The library's options. */
export function generationOptions(flags: GenerationFlags): GenerationOptions {
  return givenOnly<GenerationSettings>({
    maxNewTokens: flags.maxTokens,
    minNewTokens: flags.minTokens,
    beams: flags.beams,
    lengthPenalty: flags.lengthPenalty,
    earlyStopping: flags.earlyStopping && earlyStopping[flags.earlyStopping],
    temperature: flags.temperature,
    topK: flags.topK,
    topP: flags.topP,
    seed: flags.seed,
    stop: flags.stop,
    numReturnSequences: flags.sequences,
  });
}

const flagNames = {
  maxNewTokens: "--max-tokens",
  minNewTokens: "--min-tokens",
  beams: "--beams",
  lengthPenalty: "--length-penalty",
  earlyStopping: "--early-stopping",
  temperature: "--temperature",
  topK: "--top-k",
  topP: "--top-p",
  seed: "--seed",
  stop: "--stop",
  numReturnSequences: "--sequences",
} as const satisfies Readonly<Record<keyof GenerationSettings, string>>;

/** The flags that were given. */
export function givenGenerationFlags(flags: GenerationFlags): string[] {
  const options = generationOptions(flags);
  return Object.entries(flagNames).flatMap(([name, flag]) => (Object.hasOwn(options, name) ? [flag] : []));
}

/** An error about an option of decoding, such as `topK: …`, as one about the flag that was typed. */
export function namingFlag(error: unknown): unknown {
  if (!(error instanceof EpalmError) || error.code !== "invalid_option") return error;
  const found = Object.entries(flagNames).find(([name]) => error.message.startsWith(`${name}:`));
  if (!found) return error;
  const [name, flag] = found;
  return new EpalmError(error.code, flag + error.message.slice(name.length), { cause: error });
}
