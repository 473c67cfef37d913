import { type ConfidenceMap, confidenceOf, logOdds } from "../../adapter/confidence.js";
import { at } from "../../core/at.js";
import { randomStreams } from "../../core/random.js";
import { mean } from "../metrics/mean.js";
import { MIN_EXAMPLES } from "./fit-familiarity.js";

/** The probability that a model gave to an answer, and how correct the answer is, 0 to 1. */
export interface Judged {
  readonly probability: number;
  readonly score: number;
}

/** How well confidences agree with the shares of correct answers; all on examples that the map was not fitted to. */
export interface ConfidenceReport {
  readonly kind: ConfidenceMap["kind"];
  readonly examples: number;
  /** Expected calibration errors, of the probabilities and of the confidences. */
  readonly before: number;
  readonly after: number;
  /** The accuracy of the answers of highest confidence, for each share of all answers. */
  readonly coverage: readonly CoveredAccuracy[];
}

export interface CoveredAccuracy {
  readonly coverage: number;
  readonly accuracy: number;
  /** The smallest confidence among these answers, for `minConfidence`. */
  readonly confidence: number;
}

const FOLDS = 5;
/** Bins of the expected calibration error, as in Guo et al. 2017. */
const BINS = 15;
/** Bounds of the natural logarithm of the temperature, and the number of halvings of the search. */
const LOG_TEMPERATURES = [Math.log(0.02), Math.log(50)] as const;
const SEARCH_STEPS = 60;
/** Examples in each step of an isotonic map, at least; smaller steps would follow chance. */
const STEP_EXAMPLES = 20;

/**
 * Fits a map from probabilities to confidences: of a temperature and an isotonic function, the one with the smaller
 * mean squared error on held-out folds. Undefined with fewer than 100 examples.
 */
export function fitConfidence(
  judged: readonly Judged[],
): { readonly map: ConfidenceMap; readonly report: ConfidenceReport } | undefined {
  if (judged.length < MIN_EXAMPLES) return undefined;
  const tried = [temperatureMap, isotonicMap].map((fit) => {
    const held = heldOut(judged, fit);
    return { fit, held, error: mean(held.map(({ probability, score }) => (probability - score) ** 2)) };
  });
  const best = tried.reduce((a, b) => (b.error < a.error ? b : a));
  const map = best.fit(judged);
  return {
    map,
    report: {
      kind: map.kind,
      examples: judged.length,
      before: calibrationError(judged),
      after: calibrationError(best.held),
      coverage: accuracyByCoverage(best.held),
    },
  };
}

/** Each example with the confidence of a map that was fitted to the other folds. */
function heldOut(judged: readonly Judged[], fit: (judged: readonly Judged[]) => ConfidenceMap): Judged[] {
  return Array.from({ length: FOLDS }, (_, fold) => fold).flatMap((fold) => {
    const map = fit(judged.filter((_, index) => index % FOLDS !== fold));
    return judged
      .filter((_, index) => index % FOLDS === fold)
      .map(({ probability, score }) => ({ probability: confidenceOf(map, probability), score }));
  });
}

/** The temperature with the smallest cross-entropy, by ternary search. */
function temperatureMap(judged: readonly Judged[]): ConfidenceMap {
  const loss = (log: number) => {
    const map = { kind: "temperature", temperature: Math.exp(log) } as const;
    return mean(
      judged.map(({ probability, score }) => {
        const odds = logOdds(confidenceOf(map, probability));
        return Math.log1p(Math.exp(-Math.abs(odds))) + Math.max(odds, 0) - score * odds;
      }),
    );
  };
  let [low, high] = LOG_TEMPERATURES as readonly [number, number];
  for (let step = 0; step < SEARCH_STEPS; step++) {
    const [a, b] = [low + (high - low) / 3, high - (high - low) / 3];
    if (loss(a) < loss(b)) high = b;
    else low = a;
  }
  return { kind: "temperature", temperature: Math.exp((low + high) / 2) };
}

interface Step {
  readonly bound: number;
  readonly sum: number;
  readonly count: number;
}

/** Isotonic regression by pooling adjacent violators, of groups of neighbours. */
function isotonicMap(judged: readonly Judged[]): ConfidenceMap {
  const sorted = judged.toSorted((a, b) => a.probability - b.probability);
  const steps: Step[] = [];
  for (let start = 0; start < sorted.length; start += STEP_EXAMPLES) {
    const group = sorted.slice(start, start + STEP_EXAMPLES);
    const scores = group.map(({ score }) => score);
    let last: Step = {
      bound: at(group, 0).probability,
      sum: scores.reduce((a, b) => a + b, 0),
      count: group.length,
    };
    for (let before = steps.at(-1); before && shareOf(before) >= shareOf(last); before = steps.at(-1)) {
      last = { bound: before.bound, sum: before.sum + last.sum, count: before.count + last.count };
      steps.pop();
    }
    steps.push(last);
  }
  return { kind: "isotonic", bounds: steps.map(({ bound }) => bound), shares: steps.map(shareOf) };
}

/** With one half of an example added on each side, so that no confidence is 0 or 1. */
function shareOf({ sum, count }: Step): number {
  return (sum + 0.5) / (count + 1);
}

/**
 * The expected calibration error (Naeini et al. 2015): the mean difference between probability and accuracy over 15
 * bins of equal width.
 */
export function calibrationError(judged: readonly Judged[]): number {
  const bins = Array.from({ length: BINS }, () => ({ difference: 0 }));
  for (const { probability, score } of judged) {
    at(bins, Math.min(BINS - 1, Math.floor(probability * BINS))).difference += probability - score;
  }
  return bins.reduce((sum, { difference }) => sum + Math.abs(difference), 0) / Math.max(1, judged.length);
}

/** Simulated data sets of `chanceError`. */
const SIMULATIONS = 200;

/** The calibration error that perfectly calibrated confidences would have on as many examples, by simulation. */
export function chanceError(judged: readonly Judged[]): number {
  const [random = Math.random] = randomStreams(0, 1);
  const errors = Array.from({ length: SIMULATIONS }, () =>
    calibrationError(judged.map(({ probability }) => ({ probability, score: random() < probability ? 1 : 0 }))),
  );
  return mean(errors);
}

const COVERAGES = Array.from({ length: 10 }, (_, index) => (10 - index) / 10);

/** Accuracy if only the answers of highest confidence are given, for 100 %, 90 %, … of all answers. */
export function accuracyByCoverage(judged: readonly Judged[]): CoveredAccuracy[] {
  const sorted = judged.toSorted((a, b) => b.probability - a.probability);
  return COVERAGES.map((coverage) => {
    const kept = sorted.slice(0, Math.max(1, Math.round(coverage * sorted.length)));
    return { coverage, accuracy: mean(kept.map(({ score }) => score)), confidence: kept.at(-1)?.probability ?? 0 };
  });
}
