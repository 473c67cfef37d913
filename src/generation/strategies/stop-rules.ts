import { withoutTokens } from "./next-tokens.js";
import type { FinishReason, NextTokens } from "./strategy.js";

/** When a sequence ends. */
export interface StopRules {
  /** Token ids that end a sequence. */
  readonly eosTokenIds: ReadonlySet<number>;
  /** End tokens cannot be chosen before so many other tokens were; stop strings can. */
  readonly minNewTokens: number;
  /** A sequence of so many new tokens, an end token included, is finished. */
  readonly maxNewTokens: number;
  /** A sequence whose text, the prompt aside, contains one of these is finished. */
  readonly stop: readonly string[];
  /** The text of tokens; asked only if there are stop strings. */
  readonly decode: (tokens: readonly number[]) => string;
}

/** Whether a sequence of new tokens, none of whose beginnings was finished, is finished with its newest token. */
export function finishReason(tokens: readonly number[], rules: StopRules): FinishReason | undefined {
  const newest = tokens.at(-1);
  if (newest !== undefined && rules.eosTokenIds.has(newest)) return "end";
  if (reachesStop(tokens, rules)) return "stop";
  return tokens.length >= rules.maxNewTokens ? "length" : undefined;
}

/**
 * What may follow a sequence of `length` new tokens. The rest is not normalised again, as in transformers 5.18,
 * generation/logits_process.py, `MinNewTokensLengthLogitsProcessor`.
 */
export function allowedNext(next: NextTokens, length: number, rules: StopRules): NextTokens {
  return length < rules.minNewTokens ? withoutTokens(next, rules.eosTokenIds) : next;
}

/** How many of a sequence's best tokens `allowedNext` may take away: ask the decoder for so many more. */
export function barredCount({ minNewTokens, eosTokenIds }: StopRules): number {
  return minNewTokens > 0 ? eosTokenIds.size : 0;
}

/** The text before the first stop string; all of it if there is none. */
export function cutAtStop(text: string, stop: readonly string[]): string {
  const starts = stop.map((string) => text.indexOf(string)).filter((start) => start >= 0);
  return starts.length === 0 ? text : text.slice(0, Math.min(...starts));
}

/**
 * The beginning of an unfinished text that no further token can take back: cut at the first stop string, without
 * an ending that may become a stop string, and without a character whose last bytes are still to come.
 */
export function streamableText(text: string, stop: readonly string[]): string {
  const whole = cutAtStop(text, stop);
  if (whole.length < text.length) return whole;
  const complete = whole.replace(/\uFFFD+$/, "");
  const held = stop.map((string) => beginningAtEnd(complete, string));
  return complete.slice(0, complete.length - Math.max(0, ...held));
}

/** The length of the longest ending of `text` that is a beginning of `string`, less than all of it. */
function beginningAtEnd(text: string, string: string): number {
  for (let length = Math.min(text.length, string.length - 1); length > 0; length--) {
    if (text.endsWith(string.slice(0, length))) return length;
  }
  return 0;
}

/**
 * Looks at a tail of the text first, so that a long sequence is not decoded anew for each token. A tail can decode
 * to other characters than the whole does, so that only the whole decides.
 */
function reachesStop(tokens: readonly number[], { stop, decode }: StopRules): boolean {
  if (stop.length === 0) return false;
  const containsStop = (text: string) => stop.some((string) => text.includes(string));
  const longest = Math.max(...stop.map((string) => string.length));
  const tail = tailOf(tokens, longest + UNSURE_UNITS, decode);
  return containsStop(decode(tail)) && (tail.length === tokens.length || containsStop(decode(tokens)));
}

/**
 * UTF-16 units at the start of a decoded tail that may differ from the whole text's: up to three bytes torn off a
 * character (each reads U+FFFD), a space that decoders strip at the start, or one they clean away before "n't".
 */
const UNSURE_UNITS = 8;

/** The newest token after enough others to hold `units` of text; tokens can be empty, or bytes of a character. */
function tailOf(tokens: readonly number[], units: number, decode: StopRules["decode"]): readonly number[] {
  for (let size = units; size < tokens.length - 1; size *= 2) {
    if (decode(tokens.slice(-1 - size, -1)).length >= units) return tokens.slice(-1 - size);
  }
  return tokens;
}
