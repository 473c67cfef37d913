/**
 * The options of text generation, each declared once. Types, checks, HTTP fields, flags, the client, the page's form
 * and the tables in docs/ are derived from this table and follow its order. The module is plain data without imports,
 * because browsers also load it, with the client (`src/sdk`) and the page (`src/server/page`).
 */

/** No supported decoder has more positions; each request is also checked against the limit of its decoder. */
const MAX_NEW_TOKENS = 4096;
/** Every beam and every returned sequence takes a share of the KV cache and of each step. */
const MAX_SEQUENCES = 16;
/** The bound of common HTTP interfaces; above it, text is noise. */
const MAX_TEMPERATURE = 2;
/** Each step sorts this many tokens per sequence; less probable tokens are noise. */
const MAX_TOP_K = 1000;
/** Powers of a length up to MAX_NEW_TOKENS stay well within the range of a double. */
const MAX_LENGTH_PENALTY = 10;
/** Each stop string is searched for after each token. */
const MAX_STOP_STRINGS = 16;
/** In UTF-16 units; about this many tokens are decoded again after each token. */
const MAX_STOP_LENGTH = 128;

/** The values that an option accepts; bounds are inclusive. */
export type OptionValues =
  | { readonly type: "integer" | "number"; readonly least: number; readonly most: number }
  /** A number above 0 and at most 1. */
  | { readonly type: "probability" }
  /** `true`, `false` or the word `or`. */
  | { readonly type: "boolean"; readonly or: string }
  /** Up to `most` strings of 1 to `longest` UTF-16 units each. */
  | { readonly type: "strings"; readonly most: number; readonly longest: number };

export type GenerationOption = OptionValues & {
  /** Name in HTTP requests. */
  readonly wire: string;
  /** Flag on the command line, with a placeholder for the value. */
  readonly flag: string;
  /** One line for `--help`, the HTTP interface and the page. */
  readonly help: string;
  /** Used if neither the request nor the model folder sets the option; absent: no limit. */
  readonly default?: number | boolean | readonly string[];
  /** The option requires beams above 1 or a temperature above 0. */
  readonly needs?: "beams" | "temperature";
};

export const optionTable = {
  /** Maximum number of tokens of a sequence, including the end token. 1 to 4096. Default: 30. */
  maxNewTokens: {
    wire: "max_tokens",
    flag: "--max-tokens <n>",
    help: "maximum number of tokens in an answer",
    type: "integer",
    least: 1,
    most: MAX_NEW_TOKENS,
    default: 30,
  },
  /** Number of tokens before which no end token is chosen. 0 to `maxNewTokens`. Default: 0. */
  minNewTokens: {
    wire: "min_tokens",
    flag: "--min-tokens <n>",
    help: "minimum number of tokens in an answer (default: 0)",
    type: "integer",
    least: 0,
    most: MAX_NEW_TOKENS,
    default: 0,
  },
  /** Number of sequences that beam search follows; 1 disables beam search. 1 to 16. Default: 1. */
  beams: {
    wire: "beams",
    flag: "--beams <n>",
    help: "number of beams; 1 disables beam search",
    type: "integer",
    least: 1,
    most: MAX_SEQUENCES,
    default: 1,
  },
  /** With beams: scores are divided by the length to this power; above 0 favours long ones. -10 to 10. Default: 1. */
  lengthPenalty: {
    wire: "length_penalty",
    flag: "--length-penalty <x>",
    help: "with beams: above 0 favours long answers",
    type: "number",
    least: -MAX_LENGTH_PENALTY,
    most: MAX_LENGTH_PENALTY,
    default: 1,
    needs: "beams",
  },
  /** With beams: when to stop; see `EarlyStopping`. `true`, `false` or `"never"`. Default: `false`. */
  earlyStopping: {
    wire: "early_stopping",
    flag: "--early-stopping <when>",
    help: "with beams: stop when enough answers are finished",
    type: "boolean",
    or: "never",
    default: false,
    needs: "beams",
  },
  /** Above 0, tokens are sampled, and higher values are more random; 0 is greedy. 0 to 2. Default: 0. */
  temperature: {
    wire: "temperature",
    flag: "--temperature <x>",
    help: "above 0: sample tokens; higher is more random",
    type: "number",
    least: 0,
    most: MAX_TEMPERATURE,
    default: 0,
  },
  /** When sampling: only this many most probable tokens are considered. 1 to 1000. Default: all. */
  topK: {
    wire: "top_k",
    flag: "--top-k <n>",
    help: "when sampling: only this many most probable tokens",
    type: "integer",
    least: 1,
    most: MAX_TOP_K,
    needs: "temperature",
  },
  /** When sampling: only the most probable tokens that together reach this probability. Above 0, to 1. Default: all. */
  topP: {
    wire: "top_p",
    flag: "--top-p <p>",
    help: "when sampling: only the best tokens that together reach this probability",
    type: "probability",
    needs: "temperature",
  },
  /** When sampling: the same seed gives the same tokens. An integer from 0 to 2^53 - 1. Default: 0. */
  seed: {
    wire: "seed",
    flag: "--seed <n>",
    help: "when sampling: the same seed gives the same tokens (default: 0)",
    type: "integer",
    least: 0,
    most: Number.MAX_SAFE_INTEGER,
    default: 0,
    needs: "temperature",
  },
  /** Strings that end a sequence; they are cut off. Up to 16, of 1 to 128 UTF-16 units each. Default: none. */
  stop: {
    wire: "stop",
    flag: "--stop <text>",
    help: "string that ends an answer and is cut off",
    type: "strings",
    most: MAX_STOP_STRINGS,
    longest: MAX_STOP_LENGTH,
    default: [],
  },
  /** Number of returned sequences. 1 to 16; at most `beams` with beams; 1 if greedy. Default: 1. */
  numReturnSequences: {
    wire: "n",
    flag: "--sequences <n>",
    help: "number of answers, with beams or a temperature",
    type: "integer",
    least: 1,
    most: MAX_SEQUENCES,
    default: 1,
  },
} as const satisfies Readonly<Record<string, GenerationOption>>;

export type OptionName = keyof typeof optionTable;

/** The table as a list; `Object.entries` alone loses the type of the names. */
export const optionEntries = Object.entries(optionTable) as readonly [OptionName, GenerationOption][];
