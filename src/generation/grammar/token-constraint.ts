import type { Tokenizer } from "../../tokenizer/tokenizer.js";
import { constraintMatcher, type OutputConstraint } from "./constraint.js";
import type { Matcher, MatchState } from "./matcher.js";

/** Compiled constraints that are kept; each keeps the states that its texts went through. */
const MAX_COMPILED = 16;

/** Masks that a constraint keeps; one of a vocabulary of 152,000 takes 19 kB. */
const MAX_MASKS = 256;

/**
 * Paths that are expanded for one mask, which takes up to a tenth of a second. Only ambiguous grammars need more; their
 * masks leave out tokens that are not examined.
 */
const MAX_EXPANDED = 200_000;

const SPACE = 0x20;

/** The tokens of a vocabulary in the order of their bytes. */
interface SortedVocabulary {
  readonly ids: Int32Array;
  readonly bytes: readonly Uint8Array[];
  /** Number of bytes that a token shares with the one before it. */
  readonly shared: Int32Array;
}

type TokenNames = Pick<Tokenizer, "bytesOf" | "vocabularySize">;

/** Compiles constraints for the tokens of one decoder, and keeps those that were used last. */
export class ConstraintCompiler {
  readonly #tokenizer: TokenNames;
  readonly #eosTokenIds: readonly number[];
  readonly #compiled = new Map<string, TokenConstraint>();
  #vocabulary: SortedVocabulary | undefined;

  constructor(tokenizer: TokenNames, eosTokenIds: readonly number[]) {
    this.#tokenizer = tokenizer;
    this.#eosTokenIds = eosTokenIds;
  }

  /** @throws invalid_option, too_large */
  compile(constraint: OutputConstraint): TokenConstraint {
    const key = JSON.stringify(constraint);
    const found = this.#compiled.get(key);
    this.#vocabulary ??= sortedVocabulary(this.#tokenizer, this.#eosTokenIds);
    const compiled =
      found ?? new TokenConstraint(constraintMatcher(constraint), this.#tokenizer, this.#vocabulary, this.#eosTokenIds);
    this.#compiled.delete(key);
    this.#compiled.set(key, compiled);
    const [oldest = ""] = this.#compiled.keys();
    if (this.#compiled.size > MAX_COMPILED) this.#compiled.delete(oldest);
    return compiled;
  }
}

/**
 * Restricts tokens to those with which a text can still get its form. Models begin answers with a space; unless the
 * form itself may begin with one, a text may therefore begin with a space, which is removed.
 */
export class TokenConstraint {
  readonly #matcher: Matcher;
  readonly #tokenizer: Pick<Tokenizer, "bytesOf">;
  readonly #vocabulary: SortedVocabulary;
  readonly #eosTokenIds: readonly number[];
  readonly #skipsSpace: boolean;
  readonly #masks = new Map<MatchState, Uint32Array>();
  #startMask: Uint32Array | undefined;

  constructor(
    matcher: Matcher,
    tokenizer: Pick<Tokenizer, "bytesOf">,
    vocabulary: SortedVocabulary,
    eosTokenIds: readonly number[],
  ) {
    this.#matcher = matcher;
    this.#tokenizer = tokenizer;
    this.#vocabulary = vocabulary;
    this.#eosTokenIds = eosTokenIds;
    this.#skipsSpace = matcher.next(matcher.start, SPACE) === undefined;
  }

  /**
   * Sets the scores of all tokens that may not follow to -Infinity. An end token may follow if the text has its form,
   * or if no other token can follow, because the vocabulary lacks a character; the text is then completed.
   *
   * @param scores by token id
   * @param tokens new tokens
   */
  apply(scores: Float32Array, tokens: readonly number[]): void {
    const mask = this.#maskAfter(tokens, scores.length);
    for (let id = 0; id < scores.length; id++) {
      if ((((mask[id >>> 5] as number) >>> (id & 31)) & 1) === 0) scores[id] = Number.NEGATIVE_INFINITY;
    }
  }

  /** The text of tokens that were chosen under the constraint; incomplete characters at the end are U+FFFD. */
  decode(tokens: readonly number[]): string {
    return this.#withoutSpace(Buffer.concat(this.#bytesOf(tokens)).toString());
  }

  /**
   * The text of these tokens, cut, and completed by the shortest string with which it gets its form.
   *
   * @param cut removes the end of a text
   */
  complete(tokens: readonly number[], cut: (text: string) => string): string {
    const all = Buffer.concat(this.#bytesOf(tokens));
    const text = all.toString();
    const kept = cut(text);
    // Without a cut, a character whose bytes are incomplete is completed as well.
    const bytes = kept.length < text.length ? Buffer.from(kept) : all;
    const { completion } = this.#stateAfter([bytes]);
    return this.#withoutSpace(Buffer.concat([bytes, Buffer.from(completion, "latin1")]).toString());
  }

  #bytesOf(tokens: readonly number[]): Uint8Array[] {
    return tokens.map((token) => this.#tokenizer.bytesOf(token) ?? NO_BYTES);
  }

  #withoutSpace(text: string): string {
    return this.#skipsSpace && text.startsWith(" ") ? text.slice(1) : text;
  }

  #maskAfter(tokens: readonly number[], size: number): Uint32Array {
    if (tokens.length === 0) {
      this.#startMask ??= this.#maskOf(this.#matcher.start, size, this.#skipsSpace);
      return this.#startMask;
    }
    const state = this.#stateAfter(this.#bytesOf(tokens));
    const known = this.#masks.get(state);
    if (known) return known;
    const mask = this.#maskOf(state, size, false);
    const [oldest] = this.#masks.keys();
    if (oldest && this.#masks.size >= MAX_MASKS) this.#masks.delete(oldest);
    this.#masks.set(state, mask);
    return mask;
  }

  /** The tokens are those that `apply` permitted, so that each byte can follow. */
  #stateAfter(parts: readonly Uint8Array[]): MatchState {
    let state = this.#matcher.start;
    let isFirst = true;
    for (const bytes of parts) {
      for (const byte of bytes) {
        if (!(isFirst && this.#skipsSpace && byte === SPACE)) state = this.#matcher.next(state, byte) ?? state;
        isFirst = false;
      }
    }
    return state;
  }

  /** @param skipsSpace whether one space before the text is skipped */
  #maskOf(state: MatchState, size: number, skipsSpace: boolean): Uint32Array {
    const mask = new Uint32Array(Math.ceil(size / 32));
    const permit = (id: number) => {
      if (id < size) mask[id >>> 5] = (mask[id >>> 5] as number) | (1 << (id & 31));
    };
    const { ids, bytes, shared } = this.#vocabulary;
    // The states after the first bytes of the current token.
    const states: MatchState[] = [state];
    const budget = { paths: MAX_EXPANDED };
    let isEmpty = true;
    for (let at = 0; at < ids.length; at++) {
      const common = shared[at] as number;
      // The token before it failed within the bytes that both share.
      if (common >= states.length) continue;
      states.length = common + 1;
      const token = bytes[at] as Uint8Array;
      while (states.length <= token.length) {
        const byte = token[states.length - 1] as number;
        const from = states[states.length - 1] as MatchState;
        const next =
          skipsSpace && states.length === 1 && byte === SPACE ? from : this.#matcher.next(from, byte, budget);
        if (!next) break;
        states.push(next);
      }
      if (states.length <= token.length) continue;
      permit(ids[at] as number);
      isEmpty = false;
    }
    if (state.accepts || isEmpty) for (const id of this.#eosTokenIds) permit(id);
    return mask;
  }
}

const NO_BYTES = new Uint8Array();

function sortedVocabulary(tokenizer: TokenNames, eosTokenIds: readonly number[]): SortedVocabulary {
  const ids = new Map<string, number[]>();
  for (let id = 0; id < tokenizer.vocabularySize; id++) {
    const bytes = tokenizer.bytesOf(id);
    if (!bytes || bytes.length === 0 || eosTokenIds.includes(id)) continue;
    const text = Buffer.from(bytes).toString("latin1");
    ids.set(text, [...(ids.get(text) ?? []), id]);
  }
  // In the order of UTF-16 units, which are bytes here.
  const sorted = Array.from(ids.keys()).sort();
  const named = sorted.flatMap((text) => (ids.get(text) ?? []).map((id) => [text, id] as const));
  return {
    ids: Int32Array.from(named, ([, id]) => id),
    bytes: named.map(([text]) => Buffer.from(text, "latin1")),
    shared: Int32Array.from(named, ([text], at) => sharedLength(text, named[at - 1]?.[0] ?? "")),
  };
}

function sharedLength(one: string, other: string): number {
  let count = 0;
  while (count < other.length && one[count] === other[count]) count++;
  return count;
}
