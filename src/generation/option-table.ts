/**
 * The generation options, each declared once. Types, checks, HTTP fields, flags, the client, the page's form and the
 * tables in docs/ are derived from this table, in its order. The module is plain data without imports, because browsers
 * load it too: with the client (`src/sdk`) and with the page (`src/server/page`).
 */

/** No supported decoder has more positions. The limit of the loaded decoder is checked separately. */
const MAX_NEW_TOKENS = 4096;
/** Every beam and every returned sequence occupies memory in the KV cache and computing time in each step. */
const MAX_SEQUENCES = 16;
/** Higher temperatures give noise; common HTTP APIs have the same bound. */
const MAX_TEMPERATURE = 2;
/** Each step sorts this many tokens per sequence; tokens of lower rank have negligible probability. */
const MAX_TOP_K = 1000;
/** MAX_NEW_TOKENS raised to this power stays well within the range of a double. */
const MAX_LENGTH_PENALTY = 10;
/** All stop strings are searched for after each token. */
const MAX_STOP_STRINGS = 16;
/** In UTF-16 units. About as many tokens are decoded again after each token. */
const MAX_STOP_LENGTH = 128;

/** Below 1, repetition is encouraged; 0 would divide by zero. */
const [MIN_REPETITION_PENALTY, MAX_REPETITION_PENALTY] = [0.01, 10];
/** OpenAI's bound of `frequency_penalty` and `presence_penalty`. */
const MAX_PENALTY = 2;
/** OpenAI's bound; it practically bars or forces a token. */
const MAX_BIAS = 100;
/** OpenAI's number of tokens. */
const MAX_BIASES = 1024;
/** OpenAI's bound. */
const MAX_TOP_LOGPROBS = 20;

/** Texts to choose from, and their length in UTF-16 units. */
const [MAX_CHOICES, MAX_CHOICE_LENGTH] = [1000, 1000];
/** In UTF-16 units; regular expressions that people write are far shorter. */
const MAX_PATTERN = 4096;

/** The values that an option accepts; bounds are inclusive. */
export type OptionValues =
  | { readonly type: "integer" | "number"; readonly least: number; readonly most: number }
  /** A number above 0 and at most 1. */
  | { readonly type: "probability" }
  /** `true`, `false` or one given word. */
  | { readonly type: "boolean"; readonly or: string }
  /** Up to `most` strings of 1 to `longest` UTF-16 units each. */
  | { readonly type: "strings"; readonly most: number; readonly longest: number }
  /** Up to `most` numbers from `-bound` to `bound`, by token id or by a string of up to `longest` UTF-16 units. */
  | { readonly type: "biases"; readonly most: number; readonly longest: number; readonly bound: number }
  /** A string of 1 to `longest` UTF-16 units. */
  | { readonly type: "string"; readonly longest: number }
  /** A JSON schema. */
  | { readonly type: "schema" };

export type GenerationOption = OptionValues & {
  /** Name in HTTP requests. */
  readonly wire: string;
  /** Flag on the command line, with a placeholder for the value. */
  readonly flag: string;
  /** One line for `--help`, the HTTP reference and the page. */
  readonly help: string;
  /** Used if neither the request nor the model folder sets the option. Absent: no limit. */
  readonly default?: number | boolean | readonly string[] | Readonly<Record<string, number>>;
  /** What the option requires: `beams` above 1 or `temperature` above 0. */
  readonly needs?: "beams" | "temperature";
};

export const optionTable = {
  /** Maximum number of tokens per sequence, including the end token. 1 to 4096; default 30. */
  maxNewTokens: {
    wire: "max_tokens",
    flag: "--max-tokens <n>",
    help: "maximum number of tokens in a text",
    type: "integer",
    least: 1,
    most: MAX_NEW_TOKENS,
    default: 30,
  },
  /** Minimum number of tokens before an end token may be chosen. 0 to `maxNewTokens`; default 0. */
  minNewTokens: {
    wire: "min_tokens",
    flag: "--min-tokens <n>",
    help: "minimum number of tokens in a text (default: 0)",
    type: "integer",
    least: 0,
    most: MAX_NEW_TOKENS,
    default: 0,
  },
  /** Number of beams in beam search; 1 disables beam search. 1 to 16; default 1. */
  beams: {
    wire: "beams",
    flag: "--beams <n>",
    help: "number of beams in beam search; 1 disables it",
    type: "integer",
    least: 1,
    most: MAX_SEQUENCES,
    default: 1,
  },
  /** Beam search: scores are divided by length to this power; above 0 favours long texts. -10 to 10; default 1. */
  lengthPenalty: {
    wire: "length_penalty",
    flag: "--length-penalty <x>",
    help: "beam search: values above 0 favour long texts",
    type: "number",
    least: -MAX_LENGTH_PENALTY,
    most: MAX_LENGTH_PENALTY,
    default: 1,
    needs: "beams",
  },
  /** Beam search: when to stop; see `EarlyStopping`. `true`, `false` or `"never"`; default `false`. */
  earlyStopping: {
    wire: "early_stopping",
    flag: "--early-stopping <when>",
    help: "beam search: stop as soon as enough texts are finished",
    type: "boolean",
    or: "never",
    default: false,
    needs: "beams",
  },
  /** 0 always chooses the most probable token; higher values sample more evenly. 0 to 2; default 0. */
  temperature: {
    wire: "temperature",
    flag: "--temperature <x>",
    help: "above 0: sample tokens; higher values give more varied texts",
    type: "number",
    least: 0,
    most: MAX_TEMPERATURE,
    default: 0,
  },
  /** Sampling: only from this many of the most probable tokens. 1 to 1000; default: all. */
  topK: {
    wire: "top_k",
    flag: "--top-k <n>",
    help: "sampling: only from the n most probable tokens",
    type: "integer",
    least: 1,
    most: MAX_TOP_K,
    needs: "temperature",
  },
  /**
   * Sampling: only from the smallest set of most probable tokens whose total probability reaches this value. Above 0,
   * at most 1; default: all tokens.
   */
  topP: {
    wire: "top_p",
    flag: "--top-p <p>",
    help: "sampling: only from the most probable tokens whose total probability is p",
    type: "probability",
    needs: "temperature",
  },
  /** Sampling: only from tokens at least this many times as probable as the best one, above 0. Default: from all. */
  minP: {
    wire: "min_p",
    flag: "--min-p <p>",
    help: "sampling: only from tokens at least p times as probable as the best one",
    type: "probability",
    needs: "temperature",
  },
  /** Sampling: the same seed gives the same tokens. An integer from 0 to 2^53 - 1; default 0. */
  seed: {
    wire: "seed",
    flag: "--seed <n>",
    help: "sampling: the same seed gives the same text (default: 0)",
    type: "integer",
    least: 0,
    most: Number.MAX_SAFE_INTEGER,
    default: 0,
    needs: "temperature",
  },
  /**
   * Divides positive logits of tokens that are in the prompt or in the text, and multiplies negative ones. Above 1, the
   * tokens become less probable. 0.01 to 10; default 1.
   */
  repetitionPenalty: {
    wire: "repetition_penalty",
    flag: "--repetition-penalty <x>",
    help: "above 1: tokens of the prompt and of the text become less probable (default: 1)",
    type: "number",
    least: MIN_REPETITION_PENALTY,
    most: MAX_REPETITION_PENALTY,
    default: 1,
  },
  /** Subtracted from the logit of a token for each time that the text contains it. -2 to 2; default 0. */
  frequencyPenalty: {
    wire: "frequency_penalty",
    flag: "--frequency-penalty <x>",
    help: "above 0: tokens become less probable each time that the text contains them (default: 0)",
    type: "number",
    least: -MAX_PENALTY,
    most: MAX_PENALTY,
    default: 0,
  },
  /** Subtracted from the logit of each token that the text contains. -2 to 2; default 0. */
  presencePenalty: {
    wire: "presence_penalty",
    flag: "--presence-penalty <x>",
    help: "above 0: tokens that the text contains become less probable (default: 0)",
    type: "number",
    least: -MAX_PENALTY,
    most: MAX_PENALTY,
    default: 0,
  },
  /**
   * Added to logits: numbers from -100 to 100, by token id or by a string, whose tokens all get it. A string of digits
   * is an id. Up to 1024; default: none.
   */
  logitBias: {
    wire: "logit_bias",
    flag: "--logit-bias <token=x>",
    help: "number that is added to the logit of a token, by its id or as a string",
    type: "biases",
    most: MAX_BIASES,
    longest: MAX_STOP_LENGTH,
    bound: MAX_BIAS,
    default: {},
  },
  /** Number of most probable tokens to report for each token, under the model itself. 0 to 20; default 0. */
  topLogprobs: {
    wire: "top_logprobs",
    flag: "--top-logprobs <n>",
    help: "return each token with the n most probable ones in its place (default: 0)",
    type: "integer",
    least: 0,
    most: MAX_TOP_LOGPROBS,
    default: 0,
  },
  /** Strings that end a sequence and are removed from it. Up to 16, of 1 to 128 UTF-16 units each; default: none. */
  stop: {
    wire: "stop",
    flag: "--stop <text>",
    help: "string that ends a text and is removed from it",
    type: "strings",
    most: MAX_STOP_STRINGS,
    longest: MAX_STOP_LENGTH,
    default: [],
  },
  /** A JSON schema that the text, a JSON document, matches; see docs/structured-output.md. Default: any text. */
  guidedJson: {
    wire: "guided_json",
    flag: "--guided-json <schema>",
    help: "JSON schema of the text, which is then a JSON document",
    type: "schema",
  },
  /** A regular expression that the whole text matches. 1 to 4096 UTF-16 units; default: any text. */
  guidedRegex: {
    wire: "guided_regex",
    flag: "--guided-regex <pattern>",
    help: "regular expression that the whole text matches",
    type: "string",
    longest: MAX_PATTERN,
  },
  /** The texts to choose from. Up to 1000, of 1 to 1000 UTF-16 units each; default: any text. */
  guidedChoice: {
    wire: "guided_choice",
    flag: "--guided-choice <text>",
    help: "one of the texts among which the model chooses",
    type: "strings",
    most: MAX_CHOICES,
    longest: MAX_CHOICE_LENGTH,
  },
  /** Number of sequences to return: 1 with greedy decoding, up to `beams` with beam search, up to 16. Default 1. */
  numReturnSequences: {
    wire: "n",
    flag: "--sequences <n>",
    help: "number of texts to return; more than 1 requires beams or a temperature",
    type: "integer",
    least: 1,
    most: MAX_SEQUENCES,
    default: 1,
  },
} as const satisfies Readonly<Record<string, GenerationOption>>;

export type OptionName = keyof typeof optionTable;

/** The table as a list. `Object.entries` alone loses the type of the names. */
export const optionEntries = Object.entries(optionTable) as readonly [OptionName, GenerationOption][];
