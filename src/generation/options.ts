import { inspect } from "node:util";
import { EpalmError } from "../core/errors.js";
import type { BeamSettings, EarlyStopping } from "./strategies/beam-search.js";
import type { SamplingSettings } from "./strategies/sampling.js";

/** No supported decoder has more positions; whether prompt and answer fit a given one is checked with its limit. */
export const MAX_NEW_TOKENS = 4096;
/** Every beam and every returned sequence takes a row of the KV cache and of each step. */
export const MAX_SEQUENCES = 16;
/** Above it, text is noise; the bound of common HTTP interfaces. */
export const MAX_TEMPERATURE = 2;
/** Each step sorts so many tokens per sequence; probability beyond them is noise. */
export const MAX_TOP_K = 1000;
/** Powers of a length up to MAX_NEW_TOKENS stay far inside a double's range. */
export const MAX_LENGTH_PENALTY = 10;
/** Each stop string is searched for after each token. */
export const MAX_STOP_STRINGS = 16;
/** In UTF-16 units: about so many tokens are decoded again after each token. */
export const MAX_STOP_LENGTH = 128;

/** Every option of decoding; a request gives those that it wants otherwise than by default. */
export interface GenerationSettings {
  /** The most tokens that a sequence may have, the end token included. 1 to 4096; default 30. */
  readonly maxNewTokens: number;
  /** No end token is chosen before so many other tokens were. 0 to `maxNewTokens`; default 0. */
  readonly minNewTokens: number;
  /** Texts that end a sequence; they are cut off. Up to 16, of 1 to 128 UTF-16 units each; default none. */
  readonly stop: readonly string[];
  /** How many sequences are returned. 1 to 16; up to `beams` with beams; 1 if greedy. Default 1. */
  readonly numReturnSequences: number;
  /** How many sequences beam search follows; 1 is no beam search. 1 to 16; default 1. */
  readonly beams: number;
  /** With beams: the power of the length by which scores are divided; above 0 favours long. -10 to 10; default 1. */
  readonly lengthPenalty: number;
  /** With beams: when to stop; see `EarlyStopping`. `true`, `false` or `"never"`; default `false`. */
  readonly earlyStopping: EarlyStopping;
  /** Above 0, tokens are drawn, the more evenly the higher it is. 0, the best token always, to 2; default 0. */
  readonly temperature: number;
  /** When drawing: only so many best tokens. 1 to 1000; default all. */
  readonly topK: number;
  /** When drawing: only the fewest best tokens of at least this probability together. Above 0, to 1; default all. */
  readonly topP: number;
  /** When drawing: the same seed draws the same. An integer from 0 to 2^53 - 1; default 0. */
  readonly seed: number;
}

/** Options of a request; absent and undefined are the same. */
export type GenerationOptions = {
  readonly [Name in keyof GenerationSettings]?: GenerationSettings[Name] | undefined;
};

/** Options that were checked, with defaults filled in, and only those that mean something together. */
export interface GenerationPlan {
  readonly limits: Pick<GenerationSettings, "maxNewTokens" | "minNewTokens" | "stop">;
  readonly search: Search;
}

export type Search =
  | { readonly method: "greedy" }
  | ({ readonly method: "sampling" } & SamplingSettings)
  | ({ readonly method: "beams" } & BeamSettings);

/**
 * Checks options and fills in defaults. Nothing is coerced.
 *
 * @throws invalid_option, naming the option, what it may be and what it was, if one is unknown, of another type, out
 *   of range, or without meaning beside the others
 */
export function parseGenerationOptions(options: unknown): GenerationPlan {
  assertOptions(options);
  const { maxNewTokens = 30, minNewTokens = 0, stop = [] } = options;
  if (minNewTokens > maxNewTokens) {
    throw invalid("minNewTokens", `at most maxNewTokens, ${maxNewTokens}`, minNewTokens);
  }
  return { limits: { maxNewTokens, minNewTokens, stop }, search: parseSearch(options) };
}

function parseSearch(options: GenerationOptions): Search {
  const { beams = 1, numReturnSequences = 1, temperature = 0, topK, topP, seed = 0 } = options;
  const { lengthPenalty = 1, earlyStopping = false } = options;
  if (beams > 1) {
    refuseGiven(options, ["topK", "topP", "seed"], "no value with beams above 1");
    if (temperature > 0) throw invalid("temperature", "0 with beams above 1", temperature);
    if (numReturnSequences > beams)
      throw invalid("numReturnSequences", `at most beams, ${beams}`, numReturnSequences);
    return { method: "beams", beams, numReturnSequences, lengthPenalty, earlyStopping };
  }
  refuseGiven(options, ["lengthPenalty", "earlyStopping"], "no value without beams above 1");
  if (temperature > 0)
    return { method: "sampling", numReturnSequences, seed, logitsProcessors: { temperature, topK, topP } };
  refuseGiven(options, ["topK", "topP", "seed"], "no value without a temperature above 0");
  if (numReturnSequences > 1)
    throw invalid(
      "numReturnSequences",
      "1 without beams above 1 or a temperature above 0",
      numReturnSequences,
    );
  return { method: "greedy" };
}

function refuseGiven(
  options: GenerationOptions,
  names: readonly (keyof GenerationSettings)[],
  expected: string,
): void {
  for (const name of names) {
    if (options[name] !== undefined) throw invalid(name, expected, options[name]);
  }
}

interface Rule<Value> {
  readonly expected: string;
  readonly accepts: (value: unknown) => value is Value;
}

const rules: { readonly [Name in keyof GenerationSettings]: Rule<GenerationSettings[Name]> } = {
  maxNewTokens: integer(1, MAX_NEW_TOKENS),
  minNewTokens: integer(0, MAX_NEW_TOKENS),
  stop: {
    expected: `up to ${MAX_STOP_STRINGS} strings of 1 to ${MAX_STOP_LENGTH} UTF-16 units`,
    accepts: isStopList,
  },
  numReturnSequences: integer(1, MAX_SEQUENCES),
  beams: integer(1, MAX_SEQUENCES),
  lengthPenalty: real(-MAX_LENGTH_PENALTY, MAX_LENGTH_PENALTY),
  earlyStopping: {
    expected: 'true, false or "never"',
    accepts: (value) => typeof value === "boolean" || value === "never",
  },
  temperature: real(0, MAX_TEMPERATURE),
  topK: integer(1, MAX_TOP_K),
  topP: {
    expected: "a number above 0, at most 1",
    accepts: (value): value is number => typeof value === "number" && value > 0 && value <= 1,
  },
  seed: integer(0, Number.MAX_SAFE_INTEGER),
};

function integer(least: number, most: number): Rule<number> {
  return {
    expected: `an integer from ${least} to ${most}`,
    accepts: (value): value is number => Number.isInteger(value) && real(least, most).accepts(value),
  };
}

function real(least: number, most: number): Rule<number> {
  return {
    expected: `a number from ${least} to ${most}`,
    accepts: (value): value is number => typeof value === "number" && value >= least && value <= most,
  };
}

function isStopList(value: unknown): value is readonly string[] {
  const isStop = (item: unknown) =>
    typeof item === "string" && item.length >= 1 && item.length <= MAX_STOP_LENGTH;
  return Array.isArray(value) && value.length <= MAX_STOP_STRINGS && value.every(isStop);
}

function assertOptions(options: unknown): asserts options is GenerationOptions {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw invalid("generation options", "an object", options);
  }
  for (const [name, value] of Object.entries(options)) {
    if (!isOptionName(name))
      throw invalid("generation options", `only ${Object.keys(rules).join(", ")}`, name);
    if (value !== undefined && !rules[name].accepts(value)) throw invalid(name, rules[name].expected, value);
  }
}

function isOptionName(name: string): name is keyof GenerationSettings {
  return Object.hasOwn(rules, name);
}

function invalid(where: string, expected: string, value: unknown): EpalmError {
  const got = inspect(value, { depth: 1, maxArrayLength: 3, maxStringLength: 40, breakLength: Infinity });
  return new EpalmError("invalid_option", `${where}: expected ${expected}, got ${got}`);
}
