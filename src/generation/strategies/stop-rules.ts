import type { FinishReason } from "./strategy.js";

/** The rules for when a sequence ends. */
export interface StopRules {
  /** Token ids that end a sequence. */
  readonly eosTokenIds: ReadonlySet<number>;
  /** End tokens cannot be chosen before this many other tokens; stop strings can. */
  readonly minNewTokens: number;
  /** A sequence of this many new tokens, including an end token, is finished. */
  readonly maxNewTokens: number;
  /** A sequence whose new text contains one of these strings is finished. */
  readonly stop: readonly string[];
  /** Decodes tokens; called only if there are stop strings. */
  readonly decode: (tokens: readonly number[]) => string;
}

/** Why a sequence is finished after its newest token; undefined if it is not. Must be called after every token. */
export function finishReason(tokens: readonly number[], rules: StopRules): FinishReason | undefined {
  const newest = tokens.at(-1);
  if (newest !== undefined && rules.eosTokenIds.has(newest)) return "end";
  if (reachesStop(tokens, rules)) return "stop";
  return tokens.length >= rules.maxNewTokens ? "length" : undefined;
}

const none: ReadonlySet<number> = new Set();

/**
 * The tokens that may not follow a sequence of `length` new tokens; the others are not renormalised. As in transformers
 * 5.18, generation/logits_process.py, `MinNewTokensLengthLogitsProcessor`.
 */
export function barredNext(length: number, rules: StopRules): ReadonlySet<number> {
  return length < rules.minNewTokens ? rules.eosTokenIds : none;
}

/** How many tokens `barredNext` may contain; the decoder must return this many more. */
export function barredCount({ minNewTokens, eosTokenIds }: StopRules): number {
  return minNewTokens > 0 ? eosTokenIds.size : 0;
}

/** The text before the first stop string, or the whole text if it contains none. */
export function cutAtStop(text: string, stop: readonly string[]): string {
  const starts = stop.map((string) => text.indexOf(string)).filter((start) => start >= 0);
  return starts.length === 0 ? text : text.slice(0, Math.min(...starts));
}

/**
 * The beginning of an unfinished text that no further token can change: cut at the first stop string, without an ending
 * that may become a stop string, and without a character whose bytes are incomplete.
 */
export function streamableText(text: string, stop: readonly string[]): string {
  const whole = cutAtStop(text, stop);
  if (whole.length < text.length) return whole;
  const complete = whole.replace(/\uFFFD+$/, "");
  const held = stop.map((string) => beginningAtEnd(complete, string));
  return complete.slice(0, complete.length - Math.max(0, ...held));
}

/** The length of the longest ending of `text` that is a proper prefix of `string`. */
function beginningAtEnd(text: string, string: string): number {
  for (let length = Math.min(text.length, string.length - 1); length > 0; length--) {
    if (text.endsWith(string.slice(0, length))) return length;
  }
  return 0;
}

/**
 * First searches only the end of the text, so that a long sequence is not decoded again for each token. Because the end
 * alone can decode to different characters, a match is confirmed in the whole text.
 */
function reachesStop(tokens: readonly number[], { stop, decode }: StopRules): boolean {
  if (stop.length === 0) return false;
  const containsStop = (text: string) => stop.some((string) => text.includes(string));
  const longest = Math.max(...stop.map((string) => string.length));
  const tail = tailOf(tokens, longest + UNSURE_UNITS, decode);
  return containsStop(decode(tail)) && (tail.length === tokens.length || containsStop(decode(tokens)));
}

/**
 * UTF-16 units at the start of a decoded tail that may differ from the whole text: up to three bytes of a split
 * character (each decoded to U+FFFD), a space that decoders strip at the start, or one that they remove before "n't".
 */
const UNSURE_UNITS = 8;

/** The last tokens, with at least `units` of text before the newest; tokens can be empty or bytes of a character. */
function tailOf(tokens: readonly number[], units: number, decode: StopRules["decode"]): readonly number[] {
  for (let size = units; size < tokens.length - 1; size *= 2) {
    if (decode(tokens.slice(-1 - size, -1)).length >= units) return tokens.slice(-1 - size);
  }
  return tokens;
}
