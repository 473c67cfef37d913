import { randomStreams } from "../../core/random.js";
import { byScore, emptyHypothesis, extend, finishHypothesis, type Hypothesis } from "./hypothesis.js";
import { applyLogitsProcessors, drawRank, type LogitsProcessors } from "./logits-processors.js";
import { type Choice, choiceAt, expectOutputCount, nextTokensAt } from "./next-tokens.js";
import { allowedNext, barredCount, finishReason, type StopRules } from "./stop-rules.js";
import type { Continuation, FinishedHypothesis, NextTokens, Strategy } from "./strategy.js";

export interface SamplingSettings {
  /** Number of sequences to draw, each with its own random stream. */
  readonly numReturnSequences: number;
  /** An integer from 0 to 2^53 - 1. The same seed and the same decoder outputs give the same tokens. */
  readonly seed: number;
  readonly logitsProcessors: LogitsProcessors;
}

/** Always chooses the most probable token. */
export function greedy(rules: StopRules): Strategy {
  return new IndependentHypotheses([(next) => choiceAt(next, 0)], 1, rules);
}

/** Draws tokens at random. */
export function sampling({ numReturnSequences, seed, logitsProcessors }: SamplingSettings, rules: StopRules): Strategy {
  const choosers = randomStreams(seed, numReturnSequences).map(
    (random) => (next: NextTokens) => choiceAt(next, drawRank(applyLogitsProcessors(next, logitsProcessors), random())),
  );
  return new IndependentHypotheses(choosers, logitsProcessors.topK ?? "all", rules);
}

/** Chooses the next token among the allowed ones. */
type Chooser = (next: NextTokens) => Choice;

/** An unfinished sequence. */
interface Lane {
  readonly choose: Chooser;
  readonly hypothesis: Hypothesis;
  /** Index of the sequence that it continues. */
  readonly parent: number;
}

/** One sequence per chooser, all from the same prompt. Chosen tokens are never revised. */
class IndependentHypotheses implements Strategy {
  readonly candidates: number | "all";
  readonly maxSequences: number;
  readonly #rules: StopRules;
  #count = 1;
  #lanes: readonly Lane[];
  #finished: readonly FinishedHypothesis[] = [];

  constructor(choosers: readonly Chooser[], candidates: number | "all", rules: StopRules) {
    this.candidates = candidates === "all" ? "all" : candidates + barredCount(rules);
    this.maxSequences = choosers.length;
    this.#rules = rules;
    this.#lanes = choosers.map((choose) => ({ choose, hypothesis: emptyHypothesis, parent: 0 }));
  }

  advance(outputs: readonly NextTokens[]): readonly Continuation[] {
    expectOutputCount(outputs, this.#count);
    const lanes: Lane[] = [];
    const finished: FinishedHypothesis[] = [];
    const continuations: Continuation[] = [];
    for (const { choose, hypothesis, parent } of this.#lanes) {
      const choice = choose(allowedNext(nextTokensAt(outputs, parent), hypothesis.tokens.length, this.#rules));
      const extended = extend(hypothesis, choice);
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
