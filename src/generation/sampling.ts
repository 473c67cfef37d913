import { byScore, emptyHypothesis, extend, finishHypothesis, type Hypothesis } from "./hypothesis.js";
import { randomStreams } from "./random.js";
import { type Choice, choiceAt, expectRows, rowAt } from "./row-output.js";
import { allowedNext, barredCount, finishReason, type StopRules } from "./stop-rules.js";
import type { Continuation, FinishedHypothesis, RowOutput, Strategy } from "./strategy.js";
import { drawRank, type Warping, warp } from "./warping.js";

export interface SamplingSettings {
  /** How many sequences to draw, each from a random stream of its own. */
  readonly sequences: number;
  /** An integer from 0 to 2^53 - 1. The same seed and the same outputs of the decoder give the same tokens. */
  readonly seed: number;
  readonly warping: Warping;
}

/** Always the most probable token. */
export function greedy(rules: StopRules): Strategy {
  return new IndependentHypotheses([(row) => choiceAt(row, 0)], 1, rules);
}

/** Tokens drawn at random. */
export function sampling({ sequences, seed, warping }: SamplingSettings, rules: StopRules): Strategy {
  const choosers = randomStreams(seed, sequences).map(
    (random) => (row: RowOutput) => choiceAt(row, drawRank(warp(row, warping), random())),
  );
  return new IndependentHypotheses(choosers, warping.topK ?? "all", rules);
}

/** A way to choose the next token out of those allowed. */
type Chooser = (row: RowOutput) => Choice;

/** An unfinished sequence. */
interface Lane {
  readonly choose: Chooser;
  readonly hypothesis: Hypothesis;
  /** The row it goes on from. */
  readonly row: number;
}

/** One sequence per chooser, all from the same prompt; no token is ever taken back. */
class IndependentHypotheses implements Strategy {
  readonly candidates: number | "all";
  readonly maxRows: number;
  readonly #rules: StopRules;
  #rows = 1;
  #lanes: readonly Lane[];
  #finished: readonly FinishedHypothesis[] = [];

  constructor(choosers: readonly Chooser[], candidates: number | "all", rules: StopRules) {
    this.candidates = candidates === "all" ? "all" : candidates + barredCount(rules);
    this.maxRows = choosers.length;
    this.#rules = rules;
    this.#lanes = choosers.map((choose) => ({ choose, hypothesis: emptyHypothesis, row: 0 }));
  }

  advance(rows: readonly RowOutput[]): readonly Continuation[] {
    expectRows(rows, this.#rows);
    const lanes: Lane[] = [];
    const finished: FinishedHypothesis[] = [];
    const continuations: Continuation[] = [];
    for (const { choose, hypothesis, row } of this.#lanes) {
      const choice = choose(allowedNext(rowAt(rows, row), hypothesis.tokens.length, this.#rules));
      const extended = extend(hypothesis, choice);
      const finish = finishReason(extended.tokens, this.#rules);
      if (finish !== undefined) {
        finished.push(finishHypothesis(extended, finish, LENGTH_PENALTY));
        continue;
      }
      lanes.push({ choose, hypothesis: extended, row: continuations.length });
      continuations.push({ parent: row, token: choice.token });
    }
    this.#lanes = lanes;
    this.#rows = continuations.length;
    this.#finished = [...this.#finished, ...finished].sort(byScore);
    return continuations;
  }

  hypotheses(): readonly FinishedHypothesis[] {
    return this.#finished;
  }

  settledTokens(): readonly number[] | undefined {
    if (this.maxRows > 1) return undefined;
    return this.#lanes[0]?.hypothesis.tokens ?? this.#finished[0]?.tokens;
  }
}

/** Scores are means of log-probabilities, so that they compare with those of beam search under its default. */
const LENGTH_PENALTY = 1;
