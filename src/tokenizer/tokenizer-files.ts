import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { EpalmError, type ErrorCode, tooManyBytes } from "../core/errors.js";
import { parseJson } from "../core/json.js";
import { parse } from "../core/schema.js";

/** In bytes; the largest public vocabularies (262,144 tokens) take 33 MB. Also bounds `vocab.json` and `merges.txt`. */
const MAX_TOKENIZER_BYTES = 128 * 1024 * 1024;

/** In bytes; files with chat templates and thousands of reserved tokens stay below 1 MB. */
const MAX_CONFIG_BYTES = 8 * 1024 * 1024;

/** The largest public vocabularies have 262,144 tokens; the bound prevents huge allocations for a damaged id. */
const MAX_TOKEN = 1_000_000;

const tokenId = z.int().min(0).max(MAX_TOKEN);

/** A token that is recognised in text before any other processing; fields as in `tokenizer.json`. */
const addedToken = z.looseObject({
  id: tokenId,
  content: z.string().min(1),
  special: z.boolean().default(false),
  /** Whether the token includes the white space before it (`lstrip`) or after it (`rstrip`). */
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
});

const tokenizerJson = z.looseObject({
  added_tokens: z.array(addedToken).default([]),
  normalizer: z.unknown().default(null),
  pre_tokenizer: z.unknown().default(null),
  post_processor: z.unknown().default(null),
  decoder: z.unknown().default(null),
  model: z.looseObject({
    // Older files omit the type.
    type: z.literal("BPE").default("BPE"),
    // zod's record type would lose a token named `__proto__`.
    vocab: z.custom<Vocabulary>(isVocabulary, `expected an object of whole numbers from 0 to ${MAX_TOKEN}`),
    merges: z.custom<Merges>(isMerges, "expected a list of pairs of strings"),
    unk_token: z.string().nullish(),
  }),
});

const names = ["bos_token", "eos_token", "unk_token", "pad_token"] as const;

/** A string or, as saved by transformers, an object that contains it. */
const tokenName = z
  .union([z.string(), z.object({ content: z.string() })])
  .transform((token) => (typeof token === "string" ? token : token.content));
const specialTokens = z.object({
  bos_token: tokenName.nullish(),
  eos_token: tokenName.nullish(),
  unk_token: tokenName.nullish(),
  pad_token: tokenName.nullish(),
  additional_special_tokens: z.array(tokenName).nullish(),
});

/** The fields of `tokenizer_config.json` that are kept: all that concern a decoder's BPE tokenizer. */
const tokenizerConfig = specialTokens.extend({
  tokenizer_class: z.string().nullish(),
  add_bos_token: z.boolean().nullish(),
  add_eos_token: z.boolean().nullish(),
  add_prefix_space: z.boolean().nullish(),
  model_max_length: z.number().positive().nullish(),
});

const addedTokensDecoder = z.record(z.coerce.number().pipe(tokenId), addedToken.omit({ id: true }));

export type Vocabulary = Readonly<Record<string, number>>;
type Merges = readonly (string | readonly [string, string])[];
export type TokenizerJson = z.infer<typeof tokenizerJson>;
export type TokenizerConfig = z.infer<typeof tokenizerConfig>;
export type AddedToken = z.infer<typeof addedToken>;

/** The content of the `tokenizer/` folder of a model folder: `tokenizer.json` and `tokenizer_config.json`. */
export interface TokenizerFiles {
  readonly tokenizerJson: TokenizerJson;
  readonly tokenizerConfig: TokenizerConfig;
}

/**
 * Creates the tokenizer files of a model folder from a public folder. If `tokenizer.json` is missing (facebook/opt-*),
 * it is created from `vocab.json` and `merges.txt`: byte-level BPE as in GPT-2.
 *
 * @throws not_found if the folder has no tokenizer; invalid_checkpoint if a file is damaged; too_large
 * @throws unsupported_architecture if the tokenizer is not BPE, or only a SentencePiece file
 */
export function prepareTokenizer(sourceFolder: string): TokenizerFiles {
  const at = (name: string) => join(sourceFolder, name);
  const config = readConfig(at("tokenizer_config.json"), "invalid_checkpoint");
  if (exists(at("tokenizer.json"))) {
    return {
      tokenizerJson: readTokenizerJson(at("tokenizer.json"), "invalid_checkpoint"),
      tokenizerConfig: config,
    };
  }
  if (!exists(at("vocab.json")) || !exists(at("merges.txt"))) {
    const expected = "tokenizer.json, or vocab.json and merges.txt";
    if (exists(at("tokenizer.model"))) {
      throw new EpalmError(
        "unsupported_architecture",
        `${at("tokenizer.model")}: SentencePiece files are not read: expected ${expected}. With transformers, ` +
          `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes tokenizer.json`,
      );
    }
    throw new EpalmError("not_found", `${sourceFolder}: no tokenizer: expected ${expected}`);
  }
  return fromVocabAndMerges(sourceFolder, config);
}

/** Reads the `tokenizer/` folder of a model folder. @throws invalid_model if a file is missing or damaged */
export function readTokenizerFiles(folder: string): TokenizerFiles {
  return {
    tokenizerJson: readTokenizerJson(join(folder, "tokenizer.json"), "invalid_model"),
    tokenizerConfig: readConfig(join(folder, "tokenizer_config.json"), "invalid_model"),
  };
}

/** The first id after all tokens, which eP-ALM assigns to `</a>` (50265 for OPT). */
export function firstFreeToken({ added_tokens, model }: TokenizerJson): number {
  const ids = [...Object.values(model.vocab), ...added_tokens.map(({ id }) => id)];
  return ids.reduce((highest, id) => Math.max(highest, id), -1) + 1;
}

/**
 * Returns the tokenizer with one additional special token, such as eP-ALM's `</a>` between question and answer.
 *
 * @throws invalid_option if another token has the id, or if the content already has another id
 */
export function addAnswerToken(json: TokenizerJson, content: string, id: number): TokenizerJson {
  const tokens = [
    ...Object.entries(json.model.vocab),
    ...json.added_tokens.map((token) => [token.content, token.id] as const),
  ];
  const clash = tokens.find((token) => (token[0] === content) !== (token[1] === id));
  if (clash) {
    throw new EpalmError(
      "invalid_option",
      `tokenizer: cannot add '${content}' as token ${id}: '${clash[0]}' is already token ${clash[1]}`,
    );
  }
  const others = json.added_tokens.filter((token) => token.id !== id);
  return { ...json, added_tokens: [...others, special(content, id)] };
}

/** Converts as `GPT2Converter` of transformers does (convert_slow_tokenizer.py), and adds OPT's start token. */
function fromVocabAndMerges(folder: string, stated: TokenizerConfig): TokenizerFiles {
  const vocab = readVocabulary(join(folder, "vocab.json"));
  const merges = readMerges(join(folder, "merges.txt"), vocab);
  const config = withDefaults(stated, vocab, folder);
  const added = addedTokens(folder, config, vocab);
  const tokenizer: TokenizerJson = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: byteLevel(config.add_prefix_space ?? false),
    post_processor: config.add_bos_token ? startWith(config.bos_token, added) : byteLevel(true),
    decoder: byteLevel(true),
    model: { type: "BPE", unk_token: null, vocab, merges },
  };
  return { tokenizerJson: tokenizer, tokenizerConfig: config };
}

/**
 * Adds special tokens that the config does not define: those of `special_tokens_map.json`, otherwise GPT-2's if the
 * vocabulary contains it.
 */
function withDefaults(config: TokenizerConfig, vocab: Vocabulary, folder: string): TokenizerConfig {
  const mapPath = join(folder, "special_tokens_map.json");
  const map = exists(mapPath) ? parse(specialTokens, readJson(mapPath), mapPath, "invalid_checkpoint") : {};
  const usual = Object.hasOwn(vocab, "<|endoftext|>") ? "<|endoftext|>" : undefined;
  const usualNames = { bos_token: usual, eos_token: usual, unk_token: usual, pad_token: undefined };
  const named = names.map((name) => [name, config[name] ?? map[name] ?? usualNames[name]]);
  return {
    ...config,
    ...Object.fromEntries(named.filter(([, token]) => token !== undefined)),
    additional_special_tokens: config.additional_special_tokens ?? map.additional_special_tokens,
    add_bos_token: config.add_bos_token ?? isOpt(folder),
  };
}

/** OPT always starts with `</s>`, even if the config does not mention it. */
function isOpt(folder: string): boolean {
  const path = join(folder, "config.json");
  if (!exists(path)) return false;
  return z.object({ model_type: z.literal("opt") }).safeParse(readJson(path)).success;
}

/** Added tokens in the order of transformers: those with an id, then the named ones, which get new ids if needed. */
function addedTokens(folder: string, config: TokenizerConfig, vocab: Vocabulary): AddedToken[] {
  const added = new Map<string, AddedToken>();
  for (const token of statedTokens(folder)) added.set(token.content, token);
  const ids = new Map([
    ...Object.entries(vocab),
    ...[...added.values()].map(({ content, id }) => [content, id] as const),
  ]);
  let next = [...ids.values()].reduce((highest, id) => Math.max(highest, id), -1) + 1;
  for (const content of [...names.map((name) => config[name]), ...(config.additional_special_tokens ?? [])]) {
    if (typeof content !== "string") continue;
    const id = ids.get(content) ?? next++;
    ids.set(content, id);
    added.set(content, { ...special(content, id), ...added.get(content), id, special: true });
  }
  return [...added.values()].sort((a, b) => a.id - b.id);
}

/** Added tokens with their ids, from `added_tokens.json` and `added_tokens_decoder`. */
function statedTokens(folder: string): AddedToken[] {
  const [listPath, configPath] = [join(folder, "added_tokens.json"), join(folder, "tokenizer_config.json")];
  const list = exists(listPath) ? checkedVocabulary(readJson(listPath), listPath) : {};
  const json = exists(configPath) ? readJson(configPath) : {};
  const schema = z.object({ added_tokens_decoder: addedTokensDecoder.default({}) });
  const decoder = parse(schema, json, configPath, "invalid_checkpoint").added_tokens_decoder;
  return [
    ...Object.entries(list).map(([content, id]) => ({ ...special(content, id), special: false })),
    ...Object.entries(decoder).map(([id, token]) => ({ ...special(token.content, Number(id)), ...token })),
  ];
}

function special(content: string, id: number): AddedToken {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
}

function byteLevel(add_prefix_space: boolean) {
  return { type: "ByteLevel", add_prefix_space, trim_offsets: true, use_regex: true };
}

/** The post-processor that puts the token `content` before each text. */
function startWith(content: string | null | undefined, added: readonly AddedToken[]) {
  const token = added.find((token) => token.content === content);
  if (token === undefined) {
    throw new EpalmError("invalid_checkpoint", "tokenizer_config.json: 'add_bos_token' requires 'bos_token'");
  }
  const start = { SpecialToken: { id: token.content, type_id: 0 } };
  const sequence = (id: "A" | "B") => ({ Sequence: { id, type_id: 0 } });
  return {
    type: "TemplateProcessing",
    single: [start, sequence("A")],
    pair: [start, sequence("A"), sequence("B")],
    special_tokens: { [token.content]: { id: token.content, ids: [token.id], tokens: [token.content] } },
  };
}

function readVocabulary(path: string): Vocabulary {
  return checkedVocabulary(readJson(path, MAX_TOKENIZER_BYTES), path);
}

function checkedVocabulary(json: unknown, path: string): Vocabulary {
  if (isVocabulary(json)) return json;
  throw new EpalmError("invalid_checkpoint", `${path}: expected an object of whole numbers from 0 to ${MAX_TOKEN}`);
}

/** Reads lines of the form `left right`, best first; a first line `#version` is ignored. */
function readMerges(path: string, vocab: Vocabulary): Merges {
  const lines = readText(path, MAX_TOKENIZER_BYTES, "invalid_checkpoint").split(/\r?\n/);
  return lines.flatMap((line, index) => {
    if (line === "" || line.startsWith("#version")) return [];
    const [left, right, ...rest] = line.split(" ");
    const known = left && right && [left, right, left + right].every((token) => Object.hasOwn(vocab, token));
    if (known && rest.length === 0) return [[left, right] as const];
    throw new EpalmError(
      "invalid_checkpoint",
      `${path}: line ${index + 1}: expected two tokens whose concatenation is in vocab.json, got '${line.slice(0, 80)}'`,
    );
  });
}

function readTokenizerJson(path: string, code: ErrorCode): TokenizerJson {
  const json = readJson(path, MAX_TOKENIZER_BYTES, code);
  const { data } = z.object({ model: z.object({ type: z.string() }) }).safeParse(json);
  if (data && data.model.type !== "BPE") {
    const got = data.model.type;
    throw new EpalmError("unsupported_architecture", `${path}: 'model.type': expected BPE, got ${got}`);
  }
  return parse(tokenizerJson, json, path, code);
}

function readConfig(path: string, code: ErrorCode): TokenizerConfig {
  return exists(path) ? parse(tokenizerConfig, readJson(path, MAX_CONFIG_BYTES, code), path, code) : {};
}

function isVocabulary(value: unknown): value is Vocabulary {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((id) => Number.isInteger(id) && id >= 0 && id <= MAX_TOKEN);
}

function isMerges(value: unknown): value is Merges {
  const isString = (part: unknown) => typeof part === "string";
  return (
    Array.isArray(value) &&
    value.every((merge) => isString(merge) || (Array.isArray(merge) && merge.length === 2 && merge.every(isString)))
  );
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function readJson(path: string, maxBytes = MAX_CONFIG_BYTES, code: ErrorCode = "invalid_checkpoint"): unknown {
  return parseJson(readText(path, maxBytes, code), path, code);
}

function readText(path: string, maxBytes: number, code: ErrorCode): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) throw new EpalmError(code, `${path}: expected a file`);
  if (stat.size > maxBytes) {
    throw tooManyBytes(path, maxBytes, stat.size);
  }
  return readFileSync(path, "utf8");
}
