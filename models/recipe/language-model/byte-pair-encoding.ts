import { at } from "../../../src/core/at.js";
import type { TokenizerConfig } from "../../../src/tokenizer/tokenizer-files.js";

/**
 * Byte-level byte pair encoding (Sennrich et al. 2016; Radford et al. 2019): learns merges from strings and returns
 * them in the format of `tokenizer.json`, with OPT's special tokens.
 */

const SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"] as const;
/** Id of `</s>`, which begins and ends each text, as in OPT. */
export const END_TOKEN = 2;

/**
 * GPT-2's words: contractions, letters, digits and other characters, each with the space before it; then whitespace.
 */
const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** A word as a list of symbols, and the number of its occurrences. */
interface Word {
  symbols: string[];
  readonly count: number;
}

type Pair = readonly [string, string];

/** Learns a tokenizer from strings and returns the content of its `tokenizer.json`, with at most `size` tokens. */
export function trainTokenizer(texts: Iterable<string>, size: number): Record<string, unknown> {
  const characters = byteCharacters();
  const words = countWords(texts, characters);
  const tokens: string[] = [...SPECIAL_TOKENS, ...characters];
  const merges = learnMerges(words, size - tokens.length);
  const vocabulary = [...tokens, ...merges.map(([left, right]) => left + right)];
  const start = { SpecialToken: { id: "</s>", type_id: 0 } };
  const sequence = (id: string) => ({ Sequence: { id, type_id: 0 } });
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_TOKENS.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: {
      type: "TemplateProcessing",
      single: [start, sequence("A")],
      pair: [start, sequence("A"), sequence("B")],
      special_tokens: { "</s>": { id: "</s>", ids: [END_TOKEN], tokens: ["</s>"] } },
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges: merges.map(([left, right]) => [left, right]),
    },
  };
}

export const tokenizerConfig: TokenizerConfig = {
  tokenizer_class: "GPT2Tokenizer",
  bos_token: "</s>",
  eos_token: "</s>",
  pad_token: "<pad>",
  unk_token: "</s>",
  add_bos_token: true,
};

/** GPT-2's character for each byte: printable bytes map to themselves, all others to code points from 256 on. */
function byteCharacters(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(isPrintable ? byte : next++);
  });
}

function countWords(texts: Iterable<string>, characters: readonly string[]): Word[] {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.matchAll(WORDS)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return Array.from(counts, ([word, count]) => ({
    symbols: Array.from(Buffer.from(word), (byte) => characters[byte] ?? ""),
    count,
  }));
}

/** Merges the most frequent pair repeatedly; among equally frequent pairs, the first in code point order. */
function learnMerges(words: readonly Word[], count: number): Pair[] {
  const counts = new Map<string, number>();
  const places = new Map<string, Set<Word>>();
  const change = (word: Word, sign: number) => {
    for (let i = 1; i < word.symbols.length; i++) {
      const key = `${word.symbols[i - 1]} ${word.symbols[i]}`;
      counts.set(key, (counts.get(key) ?? 0) + sign * word.count);
      if (sign < 0) continue;
      const known = places.get(key);
      if (known) known.add(word);
      else places.set(key, new Set([word]));
    }
  };
  for (const word of words) change(word, 1);
  const merges: Pair[] = [];
  while (merges.length < count) {
    const best = mostFrequent(counts);
    if (best === undefined) break;
    const [left = "", right = ""] = best.split(" ");
    merges.push([left, right]);
    for (const word of places.get(best) ?? []) {
      change(word, -1);
      word.symbols = merged(word.symbols, left, right);
      change(word, 1);
    }
    counts.delete(best);
    places.delete(best);
  }
  return merges;
}

function mostFrequent(counts: ReadonlyMap<string, number>): string | undefined {
  let best: string | undefined;
  let most = 1;
  for (const [key, count] of counts) {
    if (count > most || (count === most && best !== undefined && key < best)) [best, most] = [key, count];
  }
  return best;
}

function merged(symbols: readonly string[], left: string, right: string): string[] {
  const result: string[] = [];
  for (let i = 0; i < symbols.length; i++) {
    const symbol = at(symbols, i);
    const isPair = symbol === left && symbols[i + 1] === right;
    result.push(isPair ? left + right : symbol);
    if (isPair) i++;
  }
  return result;
}
