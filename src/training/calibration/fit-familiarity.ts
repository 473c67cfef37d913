import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import { MAX_SCORES } from "../../adapter/calibration.js";
import {
  type FamiliaritySummary,
  type Measures,
  measured,
  type Scale,
  unusualness,
} from "../../adapter/familiarity.js";
import { at } from "../../core/at.js";
import { mean } from "../metrics/mean.js";

/** Directions of the low-rank covariance; fewer if there are few examples. */
const RANK = 64;
/** Examples per direction, at least. */
const EXAMPLES_PER_DIRECTION = 4;
/** Blocks of the discriminant, evenly spaced up to the last. */
const BLOCKS = 6;
/** Fraction of the mean variance that is added to each variance, for the discriminant. */
const RIDGE = 0.1;
/** The same for the residual of the covariance, which is 0 if there are fewer examples than dimensions. */
const LEAST_RESIDUAL = 1e-3;
/** The most steps of the conjugate gradient method, and the relative error at which it stops. */
const MAX_STEPS = 200;
const TOLERANCE = 1e-4;
/** Parts of the training states, each of which is scored by a summary of the others. */
const FOLDS = 5;
/** With fewer examples, the smallest possible familiarity is not below the default threshold of 1 %. */
export const MIN_EXAMPLES = 100;

/** Encoder states of media, each [depth, dv]. */
export interface StateSets {
  readonly depth: number;
  readonly training: readonly Float32Array[];
  readonly validation: readonly Float32Array[];
  /** Those of generated inputs that belong to no domain. */
  readonly background: readonly Float32Array[];
}

/**
 * Summarises the states of the training media. The distribution of the scores is measured on the validation media or,
 * if there are fewer than 100, on training media by cross-fitting. Undefined if there are fewer than 100 of these, too.
 */
export function fitFamiliarity(sets: StateSets): FamiliaritySummary | undefined {
  const { training, validation } = sets;
  if (validation.length >= MIN_EXAMPLES && training.length > 1) {
    const measures = measuresOf(sets, training);
    return summaryOf(
      measures,
      validation.map((states) => measured(measures, states)),
    );
  }
  if (training.length < MIN_EXAMPLES) return undefined;
  const folds = Array.from({ length: FOLDS }, (_, fold) => (index: number) => index % FOLDS === fold);
  const values = folds.flatMap((isHeldOut) => {
    const others = measuresOf(
      sets,
      training.filter((_, index) => !isHeldOut(index)),
    );
    return training.filter((_, index) => isHeldOut(index)).map((states) => measured(others, states));
  });
  return summaryOf(measuresOf(sets, training), values);
}

function summaryOf(measures: Measures, values: readonly ReturnType<typeof measured>[]): FamiliaritySummary {
  const distance = scaleOf(values.map((value) => value.distance));
  const contrast = scaleOf(values.map((value) => value.contrast));
  const scores = values.map((value) => unusualness(value, { distance, contrast })).sort((a, b) => a - b);
  const kept = Math.min(scores.length, MAX_SCORES);
  const spread = Float32Array.from({ length: kept }, (_, i) =>
    at(scores, Math.floor(((i + 0.5) * scores.length) / kept)),
  );
  return { ...measures, distance, contrast, scores: spread };
}

function scaleOf(values: readonly number[]): Scale {
  const centre = mean(values);
  const variance = mean(values.map((value) => (value - centre) ** 2));
  return { mean: centre, std: Math.max(Math.sqrt(variance), 1e-6) };
}

/** The block whose states distances are measured on. */
export function middleBlock(depth: number): number {
  return Math.floor(depth / 2);
}

function measuresOf({ depth, background }: StateSets, training: readonly Float32Array[]): Measures {
  const width = at(training, 0).length / depth;
  const block = middleBlock(depth);
  const count = Math.min(depth, BLOCKS);
  const blocks = Array.from({ length: count }, (_, index) => Math.ceil(((index + 1) * depth) / count) - 1);
  return {
    block,
    blocks,
    ...covariance(training.map((states) => states.subarray(block * width, (block + 1) * width))),
    direction: discriminant(
      training.map((states) => joined(states, blocks, width)),
      background.map((states) => joined(states, blocks, width)),
    ),
  };
}

function joined(states: Float32Array, blocks: readonly number[], width: number): Float32Array {
  const result = new Float32Array(blocks.length * width);
  for (const [index, block] of blocks.entries()) {
    result.set(states.subarray(block * width, (block + 1) * width), index * width);
  }
  return result;
}

function meanOf(rows: readonly Float32Array[]): Float32Array {
  const width = at(rows, 0).length;
  const sum = new Float64Array(width);
  for (const row of rows) addTo(sum, row, 1);
  return Float32Array.from(sum, (value) => value / rows.length);
}

function centredRows(rows: readonly Float32Array[], centre: Float32Array): Float32Array[] {
  return rows.map((row) => row.map((value, i) => value - at(centre, i)));
}

/** Mean and covariance of low rank plus residual (probabilistic PCA, Tipping and Bishop, 1999). */
function covariance(rows: readonly Float32Array[]): Pick<Measures, "mean" | "components" | "residual"> {
  const centre = meanOf(rows);
  const width = centre.length;
  const centred = new Matrix(centredRows(rows, centre).map((row) => Array.from(row)));
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(
    centred
      .transpose()
      .mmul(centred)
      .div(Math.max(1, rows.length - 1)),
    { assumeSymmetric: true },
  );
  const order = realEigenvalues.map((value, index) => ({ value, index })).sort((a, b) => b.value - a.value);
  const rank = Math.min(RANK, width - 1, Math.floor(rows.length / EXAMPLES_PER_DIRECTION));
  const all = mean(realEigenvalues);
  const rest = order.slice(rank).map(({ value }) => value);
  const residual = Math.max(mean(rest), LEAST_RESIDUAL * all, Number.MIN_VALUE ** 0.5);
  const components = new Float32Array(rank * width);
  for (const [row, { value, index }] of order.slice(0, rank).entries()) {
    const factor = Math.sqrt(Math.max(0, 1 / residual - 1 / Math.max(value, residual)));
    for (let i = 0; i < width; i++) components[row * width + i] = factor * eigenvectorMatrix.get(i, index);
  }
  return { mean: centre, components, residual };
}

/**
 * The direction `(C + ridge)^-1 (mean of b - mean of a)` of linear discriminant analysis, where C is the average of the
 * covariances of both sets, by the conjugate gradient method, so that C is never formed.
 */
function discriminant(a: readonly Float32Array[], b: readonly Float32Array[]): Float32Array {
  const [meanA, meanB] = [meanOf(a), meanOf(b)];
  const sets = [centredRows(a, meanA), centredRows(b, meanB)];
  const width = meanA.length;
  const variance = sets.reduce((sum, rows) => sum + squares(rows) / (2 * Math.max(1, rows.length - 1) * width), 0);
  const times = (vector: Float64Array) => {
    const result = vector.map((value) => RIDGE * variance * value);
    for (const rows of sets) {
      for (const row of rows) {
        addTo(result, row, inner(row, vector) / (2 * Math.max(1, rows.length - 1)));
      }
    }
    return result;
  };
  return Float32Array.from(
    solved(
      times,
      Float64Array.from(meanB, (value, i) => value - at(meanA, i)),
    ),
  );
}

/** Solves `A x = right` for a positive definite A (Hestenes and Stiefel, 1952). */
function solved(times: (vector: Float64Array) => Float64Array, right: Float64Array): Float64Array {
  const x = new Float64Array(right.length);
  let rest = right.slice();
  let step = rest;
  let square = inner(rest, rest);
  const goal = TOLERANCE ** 2 * square;
  for (let count = 0; count < MAX_STEPS && square > goal; count++) {
    const image = times(step);
    const size = square / inner(step, image);
    addTo(x, step, size);
    rest = rest.map((value, i) => value - size * at(image, i));
    const next = inner(rest, rest);
    const old = step;
    step = rest.map((value, i) => value + (next / square) * at(old, i));
    square = next;
  }
  return x;
}

/** Adds a multiple of one vector to another. */
function addTo(sum: Float64Array, vector: Float32Array | Float64Array, factor: number): void {
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + factor * (vector[i] ?? 0);
}

function inner(a: Float32Array | Float64Array, b: Float32Array | Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

function squares(rows: readonly Float32Array[]): number {
  return rows.reduce((sum, row) => sum + inner(row, row), 0);
}
