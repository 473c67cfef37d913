import { EpalmError } from "../../core/errors.js";
import { bestScores } from "./best-scores.js";
import type { Extension } from "./hypothesis.js";
import { bestChoices } from "./next-tokens.js";
import { barredCount, barredNext, type StopRules } from "./stop-rules.js";
import type { Choice, NextLogits, NextOutput, NextRequest, NextTokens } from "./strategy.js";
import { applyPenalties, type TokenPenalties } from "./token-penalties.js";

/** Restricts the tokens of a text to those that its form permits. */
export interface TokenRestriction {
  /**
   * Sets the scores of tokens that may not follow to -Infinity; at least one is left.
   *
   * @param scores by token id
   * @param tokens new tokens
   */
  apply(scores: Float32Array, tokens: readonly number[]): void;
}

/** How a request ranks the tokens of a step, and when its sequences end. */
export interface RankingRules extends StopRules {
  /** Text tokens of the prompt. Default: none. */
  readonly prompt?: readonly number[] | undefined;
  /** Undefined if they would change nothing. */
  readonly penalties?: TokenPenalties | undefined;
  /** Restricts which tokens may follow. Undefined: all. */
  readonly constraint?: TokenRestriction | undefined;
  /** Number of most probable tokens that are reported for each token. Default: 0. */
  readonly alternatives?: number | undefined;
}

/** The tokens that may follow one sequence, best first. Ranks begin at 0. */
export interface RankedTokens {
  /** At least the number of tokens that may follow. */
  readonly size: number;
  /** The `count` best of them, with the log-probabilities by which they rank. */
  best(count: number): NextTokens;
  /** The sum of exp((logProb - `best`) / `temperature`) over all of them. */
  totalWeight(best: number, temperature: number): number;
  extension(choice: Choice): Extension;
}

/**
 * Ranks the tokens after each sequence of a request. Only a request with penalties, biases or a given form, or one that
 * draws from the whole vocabulary, fetches logits; for all others, the most probable tokens, which the graph selects,
 * suffice.
 */
export class TokenRanking {
  readonly needs: NextRequest;
  readonly #rules: RankingRules;
  readonly #isNormalised: boolean;

  /**
   * @param count number of tokens that a strategy chooses from
   * @param isNormalised whether penalties apply to log-probabilities, as in the beam search of transformers, rather
   *   than to logits
   */
  constructor(rules: RankingRules, count: number | "all", isNormalised = false) {
    this.#rules = rules;
    this.#isNormalised = isNormalised;
    const { penalties, constraint, alternatives = 0 } = rules;
    this.needs =
      penalties || constraint || count === "all"
        ? { kind: "logits" }
        : { kind: "next", count: Math.max(count + barredCount(rules), alternatives) };
  }

  /** @param tokens the new tokens of the sequence */
  rank(output: NextOutput, tokens: readonly number[]): RankedTokens {
    const { prompt = [], penalties, constraint, alternatives = 0 } = this.#rules;
    const barred = barredNext(tokens.length, this.#rules);
    if ("tokens" in output) return new RankedList(output, barred, alternatives);
    const { logits } = output;
    const normalizer = this.#isNormalised ? 0 : output.normalizer;
    if (!penalties && !constraint && barred.size === 0)
      return new RankedScores(output, logits, normalizer, alternatives);
    const scores = this.#isNormalised ? logits.map((logit) => logit - output.normalizer) : logits.slice();
    if (penalties) applyPenalties(scores, penalties, prompt, tokens);
    constraint?.apply(scores, tokens);
    barTokens(scores, barred);
    return new RankedScores(output, scores, normalizer, alternatives);
  }
}

/** Tokens of which nothing else may follow stay permitted: a text in a given form may have no other continuation. */
function barTokens(scores: Float32Array, barred: ReadonlySet<number>): void {
  if (barred.size === 0 || !scores.some((score, id) => score > Number.NEGATIVE_INFINITY && !barred.has(id))) return;
  for (const token of barred) if (token < scores.length) scores[token] = Number.NEGATIVE_INFINITY;
}

/** The most probable tokens, which the graph selected. */
class RankedList implements RankedTokens {
  readonly #given: NextTokens;
  readonly #allowed: NextTokens;
  readonly #alternatives: number;

  constructor(given: NextTokens, barred: ReadonlySet<number>, alternatives: number) {
    this.#given = given;
    this.#allowed = barred.size === 0 ? given : withoutTokens(given, barred);
    this.#alternatives = alternatives;
  }

  get size(): number {
    return this.#allowed.tokens.length;
  }

  best(count: number): NextTokens {
    const { tokens, logProbs } = this.#allowed;
    if (count >= tokens.length) return this.#allowed;
    return { tokens: Array.from(tokens).slice(0, count), logProbs: Array.from(logProbs).slice(0, count) };
  }

  totalWeight(best: number, temperature: number): number {
    return Array.from(this.#allowed.logProbs).reduce((sum, one) => sum + Math.exp((one - best) / temperature), 0);
  }

  extension(choice: Choice): Extension {
    return { choice, modelLogProb: choice.logProb, alternatives: bestChoices(this.#given, this.#alternatives) };
  }
}

/** The whole vocabulary. */
class RankedScores implements RankedTokens {
  readonly #model: NextLogits;
  readonly #scores: Float32Array;
  readonly #normalizer: number;
  readonly #alternatives: number;
  readonly size: number;

  /** @param normalizer a score minus this value is the log-probability by which a token ranks */
  constructor(model: NextLogits, scores: Float32Array, normalizer: number, alternatives: number) {
    this.#model = model;
    this.#scores = scores;
    this.#normalizer = normalizer;
    this.#alternatives = alternatives;
    this.size = scores.length;
  }

  best(count: number): NextTokens {
    return rankedBy(this.#scores, count, this.#normalizer);
  }

  totalWeight(best: number, temperature: number): number {
    let total = 0;
    for (const score of this.#scores) total += Math.exp((score - this.#normalizer - best) / temperature);
    return total;
  }

  extension(choice: Choice): Extension {
    const { logits, normalizer } = this.#model;
    const alternatives = bestChoices(rankedBy(logits, this.#alternatives, normalizer), this.#alternatives);
    return { choice, modelLogProb: Math.fround((logits[choice.token] ?? Number.NaN) - normalizer), alternatives };
  }
}

function rankedBy(scores: Float32Array, count: number, normalizer: number): NextTokens {
  if (count === 0) return { tokens: [], logProbs: [] };
  const tokens = bestScores(scores, count);
  if (tokens.length === 0) throw new EpalmError("internal", "next tokens: expected a finite logit, got none");
  return { tokens, logProbs: Float32Array.from(tokens, (token) => (scores[token] as number) - normalizer) };
}

/** The next tokens without the `barred` ones; the rest is not renormalised. */
function withoutTokens(next: NextTokens, barred: ReadonlySet<number>): NextTokens {
  const kept = Array.from(next.tokens, (token) => !barred.has(token));
  return {
    tokens: Array.from(next.tokens).filter((_, rank) => kept[rank]),
    logProbs: Array.from(next.logProbs).filter((_, rank) => kept[rank]),
  };
}
