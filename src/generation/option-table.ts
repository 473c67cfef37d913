/**
 * The options of text generation, each declared once. Types, checks, HTTP fields, flags, the client, the page's form
 * and the tables in docs/ are derived from this table, in its order. The module is plain data without imports, because
 * browsers load it too: with the client (`src/sdk`) and with the page (`src/server/page`).
 */

/** No supported decoder has more positions; whether prompt and answer fit a given one is checked with its limit. */
const MAX_NEW_TOKENS = 4096;
/** Every beam and every returned sequence takes a part of the KV cache and of each step. */
const MAX_SEQUENCES = 16;
/** Above it, text is noise; the bound of common HTTP interfaces. */
const MAX_TEMPERATURE = 2;
/** Each step sorts so many tokens per sequence; probability beyond them is noise. */
const MAX_TOP_K = 1000;
/** Powers of a length up to MAX_NEW_TOKENS stay far inside a double's range. */
const MAX_LENGTH_PENALTY = 10;
/** Each stop string is searched for after each token. */
const MAX_STOP_STRINGS = 16;
/** In UTF-16 units: about so many tokens are decoded again after each token. */
const MAX_STOP_LENGTH = 128;

/** The values that an option takes; bounds are inclusive. */
export type OptionValues =
  | { readonly type: "integer" | "number"; readonly least: number; readonly most: number }
  /** A number above 0, at most 1. */
  | { readonly type: "probability" }
  /** `true`, `false` or one word. */
  | { readonly type: "boolean"; readonly or: string }
  /** Up to `most` strings of 1 to `longest` UTF-16 units each. */
  | { readonly type: "strings"; readonly most: number; readonly longest: number };

export type GenerationOption = OptionValues & {
  /** Its name in HTTP requests. */
  readonly wire: string;
  /** Its flag on the command line, with a placeholder for the value. */
  readonly flag: string;
  /** One line for `--help`, the HTTP interface and the page. */
  readonly help: string;
  /** Where neither the request nor the model folder says anything; absent: no limit. */
  readonly default?: number | boolean | readonly string[];
  /** What the option has no meaning without: beams above 1, or a temperature above 0. */
  readonly needs?: "beams" | "temperature";
};

export const optionTable = {
  /** The most tokens that a sequence may have, the end token included. 1 to 4096; default 30. */
  maxNewTokens: {
    wire: "max_tokens",
    flag: "--max-tokens <n>",
    help: "most tokens of a text",
    type: "integer",
    least: 1,
    most: MAX_NEW_TOKENS,
    default: 30,
  },
  /** No end token is chosen before so many other tokens were. 0 to `maxNewTokens`; default 0. */
  minNewTokens: {
    wire: "min_tokens",
    flag: "--min-tokens <n>",
    help: "fewest tokens of a text (default: 0)",
    type: "integer",
    least: 0,
    most: MAX_NEW_TOKENS,
    default: 0,
  },
  /** How many sequences beam search follows; 1 is no beam search. 1 to 16; default 1. */
  beams: {
    wire: "beams",
    flag: "--beams <n>",
    help: "sequences that beam search follows; 1: none",
    type: "integer",
    least: 1,
    most: MAX_SEQUENCES,
    default: 1,
  },
  /** With beams: the power of the length by which scores are divided; above 0 favours long. -10 to 10; default 1. */
  lengthPenalty: {
    wire: "length_penalty",
    flag: "--length-penalty <x>",
    help: "with beams: above 0 favours long texts",
    type: "number",
    least: -MAX_LENGTH_PENALTY,
    most: MAX_LENGTH_PENALTY,
    default: 1,
    needs: "beams",
  },
  /** With beams: when to stop; see `EarlyStopping`. `true`, `false` or `"never"`; default `false`. */
  earlyStopping: {
    wire: "early_stopping",
    flag: "--early-stopping <when>",
    help: "with beams: stop when enough texts ended",
    type: "boolean",
    or: "never",
    default: false,
    needs: "beams",
  },
  /** Above 0, tokens are sampled, the more evenly the higher it is. 0, the best token always, to 2; default 0. */
  temperature: {
    wire: "temperature",
    flag: "--temperature <x>",
    help: "above 0: draw tokens, the more evenly the higher",
    type: "number",
    least: 0,
    most: MAX_TEMPERATURE,
    default: 0,
  },
  /** When sampling: only so many best tokens. 1 to 1000; default all. */
  topK: {
    wire: "top_k",
    flag: "--top-k <n>",
    help: "when drawing: only so many best tokens",
    type: "integer",
    least: 1,
    most: MAX_TOP_K,
    needs: "temperature",
  },
  /** When sampling: only the fewest best tokens of at least this probability together. Above 0, to 1; default all. */
  topP: {
    wire: "top_p",
    flag: "--top-p <p>",
    help: "when drawing: only the best tokens of this probability together",
    type: "probability",
    needs: "temperature",
  },
  /** When sampling: the same seed gives the same tokens. An integer from 0 to 2^53 - 1; default 0. */
  seed: {
    wire: "seed",
    flag: "--seed <n>",
    help: "when drawing: the same seed draws the same (default: 0)",
    type: "integer",
    least: 0,
    most: Number.MAX_SAFE_INTEGER,
    default: 0,
    needs: "temperature",
  },
  /** Strings that end a sequence; they are cut off. Up to 16, of 1 to 128 UTF-16 units each; default none. */
  stop: {
    wire: "stop",
    flag: "--stop <text>",
    help: "text that ends an answer and is cut off",
    type: "strings",
    most: MAX_STOP_STRINGS,
    longest: MAX_STOP_LENGTH,
    default: [],
  },
  /** How many sequences are returned. 1 to 16; up to `beams` with beams; 1 if greedy. Default 1. */
  numReturnSequences: {
    wire: "n",
    flag: "--sequences <n>",
    help: "how many texts are made, with beams or a temperature",
    type: "integer",
    least: 1,
    most: MAX_SEQUENCES,
    default: 1,
  },
} as const satisfies Readonly<Record<string, GenerationOption>>;

export type OptionName = keyof typeof optionTable;

/** The table as a list; `Object.entries` alone forgets the names. */
export const optionEntries = Object.entries(optionTable) as readonly [OptionName, GenerationOption][];
