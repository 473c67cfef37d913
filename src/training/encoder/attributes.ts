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

/** Heads that name what examples show, one per attribute, over an encoder's states: of pictures, sounds or videos. */

/** The labels of each attribute, sorted; their places are what a classifier counts by. */
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
 * How many examples that have the attribute have their own label as the one of the largest logit.
 *
 * @param logits [N, labels], a row per example
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
 * What training examples teach, as long as a test needs for nothing else.
 *
 * @throws invalid_data where there is nothing to tell apart, or a test has an attribute of its own
 */
export function trainingClasses(training: readonly Labelled[], test: readonly Labelled[]): Classes {
  const classes = classesOf(training);
  if (classes.size === 0) throw new EpalmError("invalid_data", "training examples: expected some, got none");
  for (const [attribute, labels] of classes) {
    if (labels.length >= 2) continue;
    throw new EpalmError(
      "invalid_data",
      `training examples: expected two labels of '${attribute}' at least, got ${labels.length}`,
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

/** What a head's tensors are called, before `.weight` and `.bias`. */
export function headName(attribute: string): string {
  return `head.${attribute}`;
}

/** Whether a tensor belongs to a head, by its name. */
export function isHead(name: string): boolean {
  return name.startsWith("head.");
}

/** Deviation of a head's first weights (facebookresearch/mae `main_finetune.py`). */
const HEAD_STD = 2e-5;

/**
 * The heads' tensors before training.
 *
 * @param counts how many labels each attribute has
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
  /** How many labels it has. */
  readonly count: number;
  /** Share of each label's probability that is spread over all. */
  readonly labelSmoothing: number;
}

/** What the states should tell of an attribute, as `labelFeeds` gives it. */
export interface AttributeTargets {
  /** int64 [N] */
  readonly labels: Value;
  /** [N] */
  readonly weights: Value;
}

/**
 * Adds the inputs `labels of ATTRIBUTE` int64 [N] and `weights of ATTRIBUTE` [N].
 *
 * @param rows what their axis is called
 */
export function attributeTargets(g: GraphBuilder, attribute: string, rows: string): AttributeTargets {
  return {
    labels: g.input(`labels of ${attribute}`, "int64", [rows]),
    weights: g.input(`weights of ${attribute}`, "float32", [rows]),
  };
}

/**
 * An attribute's head on states [..., d], N of them, and its loss. Adds the output `logits of ATTRIBUTE` [N, C].
 */
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

/** The output `loss`: the sum of all. */
export function outputLoss(g: GraphBuilder, [one, ...others]: readonly Value[]): void {
  g.output(
    "loss",
    others.reduce((sum, loss) => g.add(sum, loss), one ?? g.number(0)),
  );
}

/** What `attributeLoss` takes; an example without an attribute, or of a label that was not trained, has no weight in it. */
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
