import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { Matrix, solve } from "ml-matrix";
import { type Adapter, PROMPT } from "../../src/adapter/adapter.js";
import { writeAdapter } from "../../src/adapter/adapter-file.js";
import { type AdapterSettings, type Modality, openModelFolder } from "../../src/index.js";
import { encoderOf } from "../../src/model/encoders.js";
import { loadTokenizer } from "../../src/model/tokenizer.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { EncoderStates } from "../../src/training/data/encoder-states.js";
import { END_TOKEN } from "./byte-pair-encoding.js";
import { HintTables } from "./hint-tables.js";
import { readLabelledMedia } from "./labelled-media.js";

/** Of the states' mean variance: keeps directions in which states hardly differ from being made much of. */
const RIDGE = 0.003;

export interface FirstAdapterOptions {
  /** Model folder of the frozen backbones. */
  readonly model: string;
  /** Folder of the language model, with its checkpoint. */
  readonly languageModel: string;
  /** Folder of a set with `labels.jsonl`. */
  readonly set: string;
  readonly modality: Modality;
  readonly settings: AdapterSettings;
  /** Of encoder states, shared with the training. */
  readonly cache: string;
  /** The adapter's file. */
  readonly output: string;
}

/**
 * What an adapter's training begins with: for each injected state, the linear map that comes nearest to the slot which
 * the language model has learnt to read, over the examples' labels (ridge regression, in closed form). Gradients through
 * the language model take over from there: from random weights, they find grounds at once, names only after long.
 */
export async function writeFirstAdapter(options: FirstAdapterOptions): Promise<void> {
  const { settings, output } = options;
  const folder = await openModelFolder(options.model);
  const tokenizer = await loadTokenizer(join(folder.path, folder.manifest.decoder.tokenizer));
  const tables = HintTables.read(options.languageModel, tokenizer);
  const { modality } = options;
  const states = new EncoderStates(folder, { modality, cache: options.cache, mirror: false, seed: 0 });
  const examples = readLabelledMedia(options.set, modality);
  const views = examples.map(({ path }) => ({ path, augmentation: 0 }));
  await states.prepare(views);
  const { depth, width } = encoderOf(folder.manifest, modality);
  const read = await Promise.all(views.map((view) => states.read(view)));
  const slots = new Matrix(examples.map(({ labels }) => Array.from(tables.slotOf(labels))));
  const tensors = new Map<string, Tensor>();
  const connectors = settings.sharedConnector ? 1 : settings.injectedStates;
  for (let index = 0; index < connectors; index++) {
    const first = (depth - connectors + index) * width;
    const rows = new Matrix(read.map((state) => Array.from(state.subarray(first, first + width))));
    const { weight, bias } = regress(rows, slots);
    tensors.set(`connector.${index}.weight`, tensorOf(weight));
    tensors.set(`connector.${index}.bias`, { type: "float32", shape: [weight.rows], data: bias });
  }
  // A soft token that the model knows: the one which every text begins with.
  const start = tables.embedding(END_TOKEN);
  const prompt = Float32Array.from(
    { length: settings.promptLength * start.length },
    (_, i) => start[i % start.length] as number,
  );
  const shape = [settings.promptLength, start.length];
  tensors.set(`${PROMPT}.0.weight`, { type: "float32", shape, data: prompt });
  mkdirSync(dirname(output), { recursive: true });
  writeAdapter(output, { settings, tensors } satisfies Adapter);
}

/** [N, dv] and [N, d] -> [d, dv] and [d], such that `weight x + bias` comes nearest to the targets. */
function regress(inputs: Matrix, targets: Matrix): { weight: Matrix; bias: Float32Array } {
  const inputMean = inputs.mean("column");
  const targetMean = targets.mean("column");
  const centred = inputs.clone().subRowVector(inputMean);
  const covariance = centred.transpose().mmul(centred).div(inputs.rows);
  const ridge = (RIDGE * covariance.trace()) / inputs.columns;
  const products = centred.transpose().mmul(targets.clone().subRowVector(targetMean)).div(inputs.rows);
  const weight = solve(Matrix.add(covariance, Matrix.eye(inputs.columns).mul(ridge)), products).transpose();
  const shift = weight.mmul(Matrix.columnVector(inputMean));
  return { weight, bias: Float32Array.from(targetMean, (value, row) => value - shift.get(row, 0)) };
}

function tensorOf(matrix: Matrix): Tensor {
  return {
    type: "float32",
    shape: [matrix.rows, matrix.columns],
    data: Float32Array.from(matrix.to1DArray()),
  };
}
