import { EpalmError } from "../../core/errors.js";
import { randomStreams } from "../../core/random.js";
import type { GraphBuilder } from "../../graph/builder.js";
import type { Value } from "../../graph/ir.js";
import { linear } from "../../layers/linear.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Labelled } from "../data/labelled-images.js";
import { filled, normal } from "../distributions.js";
import { InitialWeights } from "../initial-weights.js";
import { smoothedLoss } from "../smoothed-loss.js";
import type { TrainedParameters } from "../trained-parameters.js";

/** Linear classification heads on the states of an encoder of any modality, one head per attribute. */

/** The labels of each attribute, sorted; a label's index is its class. */
export type Classes = ReadonlyMap<string, readonly string[]>;

export function classesOf(examples: readonly Labelled[]): Classes {
  const found = new Map<string, Set<string>>();
  for (const { labels } of examples) {
    for (const [attribute, label] of Object.entries(labels)) {
      const known = found.get(attribute);
      if (known) known.add(label);
      else found.set(attribute, new Set([label]));
    }
  }
  return new Map(Array.from(found, ([attribute, labels]) => [attribute, Array.from(labels).sort()]));
}

/**
 * Counts the examples that have the attribute, and those of them whose label has the largest logit.
 *
 * @param logits [N, labels], one row per example
 */
export function countRight(
  logits: Float32Array,
  labels: readonly string[],
  examples: readonly Labelled[],
  attribute: string,
): { readonly right: number; readonly all: number } {
  let [right, all] = [0, 0];
  examples.forEach(({ labels: own }, row) => {
    if (own[attribute] === undefined) return;
    const scores = logits.subarray(row * labels.length, (row + 1) * labels.length);
    all++;
    if (labels[scores.indexOf(Math.max(...scores))] === own[attribute]) right++;
  });
  return { right, all };
}

/**
 * The classes of the training examples.
 *
 * @throws invalid_data if an attribute has fewer than two labels, or a test example has an attribute that no training
 * example has
 */
export function trainingClasses(training: readonly Labelled[], test: readonly Labelled[]): Classes {
  const classes = classesOf(training);
  if (classes.size === 0)
    throw new EpalmError("invalid_data", "training examples: expected at least one label, got none");
  for (const [attribute, labels] of classes) {
    if (labels.length >= 2) continue;
    throw new EpalmError(
      "invalid_data",
      `training examples: expected at least two labels of '${attribute}', got ${labels.length}`,
    );
  }
  for (const attribute of classesOf(test).keys()) {
    if (!classes.has(attribute)) {
      throw new EpalmError(
        "invalid_data",
        `test examples: '${attribute}' is not an attribute of the training examples`,
      );
    }
  }
  return classes;
}

/** The name of a head's tensors without `.weight` or `.bias`. */
export function headName(attribute: string): string {
  return `head.${attribute}`;
}

/** Whether a tensor of this name belongs to a head. */
export function isHead(name: string): boolean {
  return name.startsWith("head.");
}

/** Std of a head's initial weights (facebookresearch/mae `main_finetune.py`). */
const HEAD_STD = 2e-5;

/**
 * The tensors of untrained heads.
 *
 * @param counts number of labels of each attribute
 */
export function initialHeads(
  counts: ReadonlyMap<string, number>,
  width: number,
  seed: number,
): ReadonlyMap<string, Tensor> {
  const [random = Math.random] = randomStreams(seed, 1);
  const heads = new InitialWeights((name, shape) =>
    name.endsWith(".bias") ? filled(shape, 0) : normal(random, shape, HEAD_STD),
  );
  for (const [attribute, count] of counts) {
    heads.take(`${headName(attribute)}.weight`, [count, width]);
    heads.take(`${headName(attribute)}.bias`, [count]);
  }
  return heads.tensors;
}

export interface AttributeOptions {
  readonly attribute: string;
  /** Number of labels. */
  readonly count: number;
  /** Fraction of each label's probability that is spread over all labels. */
  readonly labelSmoothing: number;
}

/** Targets and weights of an attribute in the loss; `labelFeeds` computes their values. */
export interface AttributeTargets {
  /** int64 [N] */
  readonly labels: Value;
  /** [N] */
  readonly weights: Value;
}

/**
 * Adds the inputs `labels of ATTRIBUTE` int64 [N] and `weights of ATTRIBUTE` [N].
 *
 * @param rows name of their axis
 */
export function attributeTargets(g: GraphBuilder, attribute: string, rows: string): AttributeTargets {
  return {
    labels: g.input(`labels of ${attribute}`, "int64", [rows]),
    weights: g.input(`weights of ${attribute}`, "float32", [rows]),
  };
}

/** The loss of an attribute's head on N states [..., d]. Adds the output `logits of ATTRIBUTE` [N, C]. */
export function attributeLoss(
  g: GraphBuilder,
  parameters: TrainedParameters,
  states: Value,
  width: number,
  { labels, weights }: AttributeTargets,
  { attribute, count, labelSmoothing }: AttributeOptions,
): Value {
  const head = parameters.linear(headName(attribute), width, count, { bias: true });
  const logits = g.output(`logits of ${attribute}`, linear(g, g.reshape(states, [-1, width]), head));
  const { loss, logProbabilities } = g.crossEntropy(logits, labels);
  const smoothed = smoothedLoss(g, loss, logProbabilities, labelSmoothing);
  return g.sum(g.multiply(smoothed, weights), [0], false);
}

/** Adds the output `loss`, the sum of the given losses. */
export function outputLoss(g: GraphBuilder, [one, ...others]: readonly Value[]): void {
  g.output(
    "loss",
    others.reduce((sum, loss) => g.add(sum, loss), one ?? g.number(0)),
  );
}

/** Inputs of `attributeTargets`. An example without the attribute, or with an unknown label, has weight 0. */
export function labelFeeds(classes: Classes, examples: readonly Labelled[]): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {};
  for (const [attribute, labels] of classes) {
    const places = examples.map((example) => labels.indexOf(example.labels[attribute] ?? ""));
    const shape = [examples.length];
    feeds[`labels of ${attribute}`] = {
      type: "int64",
      shape,
      data: BigInt64Array.from(places, (place) => BigInt(Math.max(0, place))),
    };
    feeds[`weights of ${attribute}`] = {
      type: "float32",
      shape,
      data: Float32Array.from(places, (place) => (place < 0 ? 0 : 1 / examples.length)),
    };
  }
  return feeds;
}
