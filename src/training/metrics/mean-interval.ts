import { at } from "../../core/at.js";
import { randomStreams } from "../../core/random.js";
import { mean } from "./mean.js";

/** A mean over examples and the range in which it would lie for 95 % of the data sets of this size. */
export interface MeanInterval {
  readonly examples: number;
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 1000;
const OUTSIDE = 0.025;

/**
 * The percentile bootstrap of a mean (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13): the
 * same examples are drawn with replacement a thousand times. The same values always give the same interval.
 *
 * @param values at least one score
 */
export function meanInterval(values: readonly number[]): MeanInterval {
  const [random = Math.random] = randomStreams(0, 1);
  const means = Array.from({ length: RESAMPLES }, () => {
    let sum = 0;
    for (let draw = 0; draw < values.length; draw++) sum += at(values, Math.floor(random() * values.length));
    return sum / values.length;
  }).sort((a, b) => a - b);
  return {
    examples: values.length,
    mean: mean(values),
    low: at(means, Math.floor(OUTSIDE * RESAMPLES)),
    high: at(means, Math.ceil((1 - OUTSIDE) * RESAMPLES) - 1),
  };
}
