import { inspect } from "node:util";
import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import type { OutputConstraint } from "./grammar/constraint.js";
import type { JsonSchema } from "./grammar/json-schema.js";
import { type GenerationOption, type OptionName, optionEntries, optionTable } from "./option-table.js";
import type { BeamSettings } from "./strategies/beam-search.js";
import type { SamplingSettings } from "./strategies/sampling.js";

type Table = typeof optionTable;

type Value<Option extends GenerationOption> = Option extends { readonly type: "strings" }
  ? readonly string[]
  : Option extends { readonly type: "biases" }
    ? Readonly<Record<string, number>>
    : Option extends { readonly type: "schema" }
      ? JsonSchema
      : Option extends { readonly type: "string" }
        ? string
        : Option extends { readonly or: infer Word }
          ? boolean | Word
          : number;

/** Options of a request; undefined is the same as absent. */
export type GenerationOptions = { readonly [Name in keyof Table]?: Value<Table[Name]> | undefined };

/** Every option, with defaults filled in. */
type GenerationSettings = {
  readonly [Name in keyof Table]: Value<Table[Name]> | DefaultOf<Table[Name]>;
};

type DefaultOf<Option> = Option extends { readonly default: infer Default } ? Default : undefined;

/** Checked options with defaults filled in, reduced to those that apply. */
export interface GenerationPlan {
  readonly limits: Pick<GenerationSettings, "maxNewTokens" | "minNewTokens" | "stop">;
  readonly search: Search;
  /** Absent if they would change nothing. */
  readonly penalties?: Pick<
    GenerationSettings,
    "repetitionPenalty" | "frequencyPenalty" | "presencePenalty" | "logitBias"
  >;
  /** Default: any text. */
  readonly constraint?: OutputConstraint;
  /** Most probable tokens that are reported for each token. Default: none. */
  readonly topLogprobs?: number;
}

export type Search =
  | { readonly method: "greedy" }
  | ({ readonly method: "sampling" } & SamplingSettings)
  | ({ readonly method: "beams" } & BeamSettings);

/** Schemas of the options, with their help as descriptions. */
export const optionSchemas = Object.fromEntries(
  optionEntries.map(([name, option]) => [name, schemaOf(option).describe(option.help).optional()]),
) as { readonly [Name in OptionName]: z.ZodOptional<z.ZodType<Value<Table[Name]>>> };

/**
 * Checks options and fills in defaults. Nothing is coerced.
 *
 * @throws invalid_option if an option is unknown, of the wrong type, out of range, or not applicable in combination
 *   with the others; the message has the option, the expected and the received value
 */
export function parseGenerationOptions(options: unknown): GenerationPlan {
  assertOptions(options);
  const settings = withDefaults(options);
  const { maxNewTokens, minNewTokens, stop } = settings;
  if (minNewTokens > maxNewTokens) {
    throw invalid("minNewTokens", `at most maxNewTokens, ${maxNewTokens}`, minNewTokens);
  }
  return {
    limits: { maxNewTokens, minNewTokens, stop },
    search: parseSearch(options, settings),
    ...parsePenalties(settings),
    ...parseConstraint(settings),
    ...(settings.topLogprobs > 0 ? { topLogprobs: settings.topLogprobs } : {}),
  };
}

function parsePenalties(settings: GenerationSettings): Pick<GenerationPlan, "penalties"> {
  const { repetitionPenalty, frequencyPenalty, presencePenalty, logitBias } = settings;
  const hasBias = Object.values(logitBias).some((bias) => bias !== 0);
  if (repetitionPenalty === 1 && frequencyPenalty === 0 && presencePenalty === 0 && !hasBias) return {};
  return { penalties: { repetitionPenalty, frequencyPenalty, presencePenalty, logitBias } };
}

function parseConstraint({
  guidedJson,
  guidedRegex,
  guidedChoice,
}: GenerationSettings): Pick<GenerationPlan, "constraint"> {
  if (guidedChoice?.length === 0) throw invalid("guidedChoice", "at least one string", guidedChoice);
  const given = Object.entries({ guidedJson, guidedRegex, guidedChoice }).filter(([, value]) => value !== undefined);
  const [first, second] = given;
  if (second) throw invalid(second[0], `no value together with ${first?.[0]}`, second[1]);
  return first ? { constraint: Object.fromEntries([first]) } : {};
}

function parseSearch(given: GenerationOptions, settings: GenerationSettings): Search {
  const { beams, numReturnSequences, temperature, topK, topP, minP, seed } = settings;
  if (beams > 1) {
    refuseNeeding("temperature", given, "no value with beams above 1");
    if (temperature > 0) throw invalid("temperature", "0 with beams above 1", temperature);
    if (numReturnSequences > beams) throw invalid("numReturnSequences", `at most beams, ${beams}`, numReturnSequences);
    const { lengthPenalty, earlyStopping } = settings;
    return { method: "beams", beams, numReturnSequences, lengthPenalty, earlyStopping };
  }
  refuseNeeding("beams", given, "no value without beams above 1");
  if (temperature > 0)
    return { method: "sampling", numReturnSequences, seed, logitsProcessors: { temperature, topK, topP, minP } };
  refuseNeeding("temperature", given, "no value without a temperature above 0");
  if (numReturnSequences > 1)
    throw invalid("numReturnSequences", "1 without beams above 1 or a temperature above 0", numReturnSequences);
  return { method: "greedy" };
}

/** @throws invalid_option if an option is set that requires another one */
function refuseNeeding(needed: GenerationOption["needs"], given: GenerationOptions, expected: string): void {
  for (const [name, { needs }] of optionEntries) {
    if (needs === needed && given[name] !== undefined) throw invalid(name, expected, given[name]);
  }
}

function withDefaults(given: GenerationOptions): GenerationSettings {
  const settings = optionEntries.map(([name, option]) => [name, given[name] ?? option.default]);
  return Object.fromEntries(settings) as GenerationSettings;
}

function assertOptions(options: unknown): asserts options is GenerationOptions {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw invalid("generation options", "an object", options);
  }
  for (const [name, value] of Object.entries(options)) {
    if (!isOptionName(name)) throw invalid("generation options", `only ${Object.keys(optionTable).join(", ")}`, name);
    if (!optionSchemas[name].safeParse(value).success) throw invalid(name, expectedValue(optionTable[name]), value);
  }
}

function isOptionName(name: string): name is OptionName {
  return Object.hasOwn(optionTable, name);
}

function schemaOf(option: GenerationOption): z.ZodType {
  switch (option.type) {
    case "integer":
      return z.int().min(option.least).max(option.most);
    case "number":
      return z.number().min(option.least).max(option.most);
    case "probability":
      return z.number().gt(0).max(1);
    case "boolean":
      return z.union([z.boolean(), z.literal(option.or)], { error: `expected ${expectedValue(option)}` });
    case "strings":
      return z.array(z.string().min(1).max(option.longest)).max(option.most);
    case "string":
      return z.string().min(1).max(option.longest);
    case "schema":
      return z.record(z.string(), z.unknown(), { error: `expected ${expectedValue(option)}` });
    case "biases":
      return z
        .record(z.string().min(1).max(option.longest), z.number().min(-option.bound).max(option.bound), {
          error: `expected ${expectedValue(option)}`,
        })
        .refine((biases) => Object.keys(biases).length <= option.most, { error: `expected ${expectedValue(option)}` });
  }
}

function expectedValue(option: GenerationOption): string {
  switch (option.type) {
    case "integer":
      return `an integer from ${option.least} to ${option.most}`;
    case "number":
      return `a number from ${option.least} to ${option.most}`;
    case "probability":
      return "a number above 0 and at most 1";
    case "boolean":
      return `true, false or "${option.or}"`;
    case "strings":
      return `up to ${option.most} strings of 1 to ${option.longest} UTF-16 units`;
    case "string":
      return `a string of 1 to ${option.longest} UTF-16 units`;
    case "schema":
      return "a JSON schema as an object";
    case "biases":
      return `an object with up to ${option.most} token ids or strings and numbers from -${option.bound} to ${option.bound}`;
  }
}

function invalid(where: string, expected: string, value: unknown): EpalmError {
  const got = inspect(value, { depth: 1, maxArrayLength: 3, maxStringLength: 40, breakLength: Infinity });
  return new EpalmError("invalid_option", `${where}: expected ${expected}, got ${got}`);
}
