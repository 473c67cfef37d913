import { byScore, emptyHypothesis, extend, finishHypothesis, type Hypothesis, penalisedScore } from "./hypothesis.js";
import { bestChoices, expectOutputCount, outputAt } from "./next-tokens.js";
import { finishReason, type StopRules } from "./stop-rules.js";
import type { Continuation, FinishedHypothesis, NextOutput, NextRequest, Strategy } from "./strategy.js";
import { type RankingRules, TokenRanking } from "./token-ranking.js";

/**
 * When to stop once there are as many finished hypotheses as beams. `true`: immediately. `false`: when the best beam,
 * scored as if it ended here, is no better than the worst finished hypothesis. `"never"`: when the best beam cannot
 * become better; with a length penalty above 0, it is scored as if it were `maxNewTokens` long.
 */
export type EarlyStopping = boolean | "never";

export interface BeamSettings {
  /** Number of sequences that are followed; at least 2. */
  readonly beams: number;
  /** Number of returned hypotheses; at most `beams`. */
  readonly numReturnSequences: number;
  /** See `penalisedScore`. */
  readonly lengthPenalty: number;
  readonly earlyStopping: EarlyStopping;
}

/**
 * Beam search as in Hugging Face transformers 5.18 (generation/utils.py, `_beam_search` without sampling) for one
 * prompt. Results are equal for vocabularies of at least `beams * max(2, 1 + end tokens)` tokens. Beams that cannot
 * continue are dropped, whereas transformers keeps them with a score of -1e9. Ties are broken by the better beam, then
 * by the better token. Penalties and biases change log-probabilities, which are not renormalised.
 */
export function beamSearch(settings: BeamSettings, rules: RankingRules): Strategy {
  return new BeamSearch(settings, rules);
}

/** A sequence that extends the sequence `parent` by one token. */
interface Candidate {
  readonly parent: number;
  readonly token: number;
  readonly hypothesis: Hypothesis;
}

class BeamSearch implements Strategy {
  readonly maxSequences: number;
  readonly #settings: BeamSettings;
  readonly #ranking: TokenRanking;
  readonly #rules: StopRules;
  /** `beams_to_keep`: with this many candidates, `beams` of them continue even if all end tokens rank above them. */
  readonly #keep: number;
  #beams: readonly Hypothesis[] = [emptyHypothesis];
  #finished: readonly FinishedHypothesis[] = [];

  constructor(settings: BeamSettings, ranking: RankingRules) {
    this.#settings = settings;
    this.#rules = ranking;
    this.#keep = settings.beams * Math.max(2, 1 + ranking.eosTokenIds.size);
    this.#ranking = new TokenRanking(ranking, this.#keep, true);
    this.maxSequences = settings.beams;
  }

  get needs(): NextRequest {
    return this.#ranking.needs;
  }

  advance(outputs: readonly NextOutput[]): readonly Continuation[] {
    expectOutputCount(outputs, this.#beams.length);
    const { beams, lengthPenalty } = this.#settings;
    const candidates = this.#bestCandidates(outputs).map((candidate) => ({
      ...candidate,
      finish: finishReason(candidate.hypothesis.tokens, this.#rules),
    }));
    // Candidates after the first `beams` only replace those that end; they never end themselves.
    const ended = candidates
      .slice(0, beams)
      .flatMap(({ hypothesis, finish }) =>
        finish === undefined ? [] : [finishHypothesis(hypothesis, finish, lengthPenalty)],
      );
    const running = candidates.filter(({ finish }) => finish === undefined).slice(0, beams);
    this.#finished = [...this.#finished, ...ended].sort(byScore).slice(0, beams);
    const next = this.#canImprove(running[0]?.hypothesis) ? running : [];
    this.#beams = next.map(({ hypothesis }) => hypothesis);
    return next.map(({ parent, token }) => ({ parent, token }));
  }

  hypotheses(): readonly FinishedHypothesis[] {
    return this.#finished.slice(0, this.#settings.numReturnSequences);
  }

  settledTokens(): undefined {
    return undefined;
  }

  /** The best of all continuations of all beams, as in `_get_top_k_continuations`. */
  #bestCandidates(outputs: readonly NextOutput[]): Candidate[] {
    return this.#beams
      .flatMap((beam, parent) => {
        const ranked = this.#ranking.rank(outputAt(outputs, parent), beam.tokens);
        return bestChoices(ranked.best(this.#keep), this.#keep).map((choice) => ({ parent, beam, ranked, choice }));
      })
      .sort((a, b) => b.beam.logProb + b.choice.logProb - (a.beam.logProb + a.choice.logProb))
      .slice(0, this.#keep)
      .map(({ parent, beam, ranked, choice }) => {
        return { parent, token: choice.token, hypothesis: extend(beam, ranked.extension(choice)) };
      });
  }

  /** As in `_check_early_stop_heuristic` and `_beam_search_has_unfinished_sequences`. */
  #canImprove(best: Hypothesis | undefined): boolean {
    const { beams, earlyStopping, lengthPenalty } = this.#settings;
    if (best === undefined) return false;
    const worst = this.#finished[beams - 1];
    if (worst === undefined) return true;
    if (earlyStopping === true) return false;
    const growsBetter = earlyStopping === "never" && lengthPenalty > 0;
    const length = growsBetter ? this.#rules.maxNewTokens : best.tokens.length;
    return penalisedScore(best.logProb, length, lengthPenalty) > worst.score;
  }
}
