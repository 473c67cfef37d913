import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { Matrix, solve } from "ml-matrix";
import { PROMPT } from "../../../src/adapter/adapter.js";
import {
  type ClsInjectionSettings,
  encoderOf,
  type Modality,
  openModelFolder,
  writeAdapter,
} from "../../../src/index.js";
import type { ModelFolder } from "../../../src/model/model-folder.js";
import type { Tensor } from "../../../src/tensor/tensor.js";
import { loadTokenizer } from "../../../src/tokenizer/tokenizer.js";
import { EncoderStates, rowsOf, stacked, Whitening } from "../../../src/training/index.js";
import { type LabelledMedium, readLabelledMedia } from "../data/labelled-media.js";
import { END_TOKEN } from "../language-model/byte-pair-encoding.js";
import { ConditioningTables } from "../language-model/conditioning-tables.js";
import { type SlotMap, trainSlots } from "./slot-training.js";

/**
 * Penalty of the ridge regression for inputs of variance 1; needed for sets with fewer examples than a state has
 * elements.
 */
const RIDGE = 1e-3;

export interface FirstAdapterOptions {
  /** Model folder of the frozen backbones. */
  readonly model: string;
  /** Folder of the language model, with its checkpoint. */
  readonly languageModel: string;
  /** Folder of a set with `labels.jsonl`. */
  readonly set: string;
  readonly modality: Modality;
  readonly settings: ClsInjectionSettings;
  /** Folder of cached encoder states, shared with the training. */
  readonly cache: string;
  /** Path of the adapter's file. */
  readonly output: string;
}

/**
 * Writes the adapter from which training starts. For each injected state, it has the linear map whose slots distinguish
 * the labels of the examples (`trainSlots`). That map in turn starts from the one that comes nearest to the slots that
 * the language model has learned to read (ridge regression, in closed form). Gradients through the language model then
 * continue from there: from random weights, they find backgrounds at once but names only after a long time.
 */
export async function writeFirstAdapter(options: FirstAdapterOptions): Promise<void> {
  const { settings, modality, output } = options;
  const folder = await openModelFolder(options.model);
  const tokenizer = loadTokenizer(join(folder.path, folder.manifest.decoder.tokenizer));
  const tables = ConditioningTables.read(options.languageModel, tokenizer);
  const { depth, width } = encoderOf(folder.manifest, modality);
  const examples = readLabelledMedia(options.set, modality);
  const states = await readStates(folder, examples, options);
  const whitening = Whitening.measure(states, width, settings);
  const whitened = rowsOf(whitening.whitened(stacked(states, [depth, width])));
  const slots = new Matrix(examples.map(({ labels }) => Array.from(tables.slotOf(labels))));
  const tensors = new Map<string, Tensor>();
  const connectors = settings.sharedConnector ? 1 : settings.injectedStates;
  for (let index = 0; index < connectors; index++) {
    const first = (depth - connectors + index) * width;
    const seen = whitened.map((state) => state.subarray(first, first + width));
    const nearest = regress(new Matrix(seen.map((state) => Array.from(state))), slots);
    const { weight, bias } = await trainSlots({ states: seen, examples }, tables, nearest);
    tensors.set(`connector.${index}.weight`, weight);
    tensors.set(`connector.${index}.bias`, bias);
  }
  tensors.set(`${PROMPT}.0.weight`, firstPrompt(tables, settings.promptLength));
  mkdirSync(dirname(output), { recursive: true });
  writeAdapter(output, whitening.fromWhitened({ settings, tensors }));
}

/** The states of each example, [depth * dv]. */
async function readStates(
  folder: ModelFolder,
  examples: readonly LabelledMedium[],
  { modality, cache }: FirstAdapterOptions,
): Promise<Float32Array[]> {
  const states = new EncoderStates(folder, { modality, cache, mirror: false, seed: 0 });
  const views = examples.map(({ path }) => ({ path, augmentation: 0 }));
  await states.prepare(views);
  return Promise.all(views.map((view) => states.read(view)));
}

/** A soft prompt that the model knows: the token with which every text begins, repeated. */
function firstPrompt(tables: ConditioningTables, length: number): Tensor {
  return stacked(new Array<Float32Array>(length).fill(tables.embedding(END_TOKEN)), [tables.width]);
}

/**
 * Regression of targets [N, d] on inputs [N, dv] of mean 0: the weight [d, dv] and the bias [d] for which `weight x +
 * bias` comes nearest to the targets.
 */
function regress(inputs: Matrix, targets: Matrix): SlotMap {
  const targetMean = targets.mean("column");
  const covariance = inputs.transpose().mmul(inputs).div(inputs.rows);
  const products = inputs.transpose().mmul(targets.clone().subRowVector(targetMean)).div(inputs.rows);
  const weight = solve(Matrix.add(covariance, Matrix.eye(inputs.columns).mul(RIDGE)), products).transpose();
  return {
    weight: {
      type: "float32",
      shape: [weight.rows, weight.columns],
      data: Float32Array.from(weight.to1DArray()),
    },
    bias: { type: "float32", shape: [weight.rows], data: Float32Array.from(targetMean) },
  };
}
