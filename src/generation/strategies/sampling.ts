import { randomStreams } from "../../core/random.js";
import { byScore, emptyHypothesis, extend, finishHypothesis, type Hypothesis } from "./hypothesis.js";
import { drawToken, type LogitsProcessors } from "./logits-processors.js";
import { choiceAt, expectOutputCount, outputAt } from "./next-tokens.js";
import { finishReason, type StopRules } from "./stop-rules.js";
import type { Choice, Continuation, FinishedHypothesis, NextOutput, NextRequest, Strategy } from "./strategy.js";
import { type RankedTokens, type RankingRules, TokenRanking } from "./token-ranking.js";

export interface SamplingSettings {
  /** Number of sequences to draw, each with its own random stream. */
  readonly numReturnSequences: number;
  /** An integer from 0 to 2^53 - 1. The same seed and the same decoder outputs give the same tokens. */
  readonly seed: number;
  readonly logitsProcessors: LogitsProcessors;
}

/** Always chooses the most probable token. */
export function greedy(rules: RankingRules): Strategy {
  return new IndependentHypotheses([(ranked) => choiceAt(ranked.best(1), 0)], 1, rules);
}

/** Draws tokens at random. */
export function sampling(
  { numReturnSequences, seed, logitsProcessors }: SamplingSettings,
  rules: RankingRules,
): Strategy {
  const choosers = randomStreams(seed, numReturnSequences).map(
    (random) => (ranked: RankedTokens) => drawToken(ranked, logitsProcessors, random()),
  );
  return new IndependentHypotheses(choosers, logitsProcessors.topK ?? "all", rules);
}

/** Chooses the next token among the allowed ones. */
type Chooser = (ranked: RankedTokens) => Choice;

/** An unfinished sequence. */
interface Lane {
  readonly choose: Chooser;
  readonly hypothesis: Hypothesis;
  /** Index of the sequence that it continues. */
  readonly parent: number;
}

/** One sequence per chooser, all from the same prompt. Chosen tokens are never revised. */
class IndependentHypotheses implements Strategy {
  readonly maxSequences: number;
  readonly #ranking: TokenRanking;
  readonly #rules: StopRules;
  #count = 1;
  #lanes: readonly Lane[];
  #finished: readonly FinishedHypothesis[] = [];

  constructor(choosers: readonly Chooser[], candidates: number | "all", ranking: RankingRules) {
    this.#ranking = new TokenRanking(ranking, candidates);
    this.maxSequences = choosers.length;
    this.#rules = ranking;
    this.#lanes = choosers.map((choose) => ({ choose, hypothesis: emptyHypothesis, parent: 0 }));
  }

  get needs(): NextRequest {
    return this.#ranking.needs;
  }

  advance(outputs: readonly NextOutput[]): readonly Continuation[] {
    expectOutputCount(outputs, this.#count);
    const lanes: Lane[] = [];
    const finished: FinishedHypothesis[] = [];
    const continuations: Continuation[] = [];
    for (const { choose, hypothesis, parent } of this.#lanes) {
      const ranked = this.#ranking.rank(outputAt(outputs, parent), hypothesis.tokens);
      const choice = choose(ranked);
      const extended = extend(hypothesis, ranked.extension(choice));
      const finish = finishReason(extended.tokens, this.#rules);
      if (finish !== undefined) {
        finished.push(finishHypothesis(extended, finish, LENGTH_PENALTY));
        continue;
      }
      lanes.push({ choose, hypothesis: extended, parent: continuations.length });
      continuations.push({ parent, token: choice.token });
    }
    this.#lanes = lanes;
    this.#count = continuations.length;
    this.#finished = [...this.#finished, ...finished].sort(byScore);
    return continuations;
  }

  hypotheses(): readonly FinishedHypothesis[] {
    return this.#finished;
  }

  settledTokens(): readonly number[] | undefined {
    if (this.maxSequences > 1) return undefined;
    return this.#lanes[0]?.hypothesis.tokens ?? this.#finished[0]?.tokens;
  }
}

/** Scores are mean log-probabilities, so that they are comparable with those of beam search and its default penalty. */
const LENGTH_PENALTY = 1;
