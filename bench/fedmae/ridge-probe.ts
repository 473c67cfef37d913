import { Matrix, solve } from "ml-matrix";
import { vit } from "../../src/backbones/encoders/vit.js";
import { ParameterReader } from "../../src/backbones/parameters.js";
import { weightsInMemory } from "../../src/backbones/weights-in-memory.js";
import { at } from "../../src/core/at.js";
import type { EncoderFolder, LabelledImage } from "../../src/fedmae.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession } from "../../src/runtime/session.js";
import { floats, type Tensor } from "../../src/tensor/tensor.js";
import { ImageBatches } from "../../src/training/data/image-batches.js";

/** Decoded images with their labels: [B, 3, H, W] per batch. */
export interface ProbeSet {
  readonly batches: readonly Tensor[];
  readonly labels: readonly string[];
}

export type Pool = "cls" | "mean";

/** Added to the diagonal of the correlation matrix of the standardised states. */
const RIDGE = 0.1;
const BATCH = 64;

export async function decodeSet(images: readonly LabelledImage[], imageSize: number): Promise<ProbeSet> {
  const paths = images.map(({ path }) => path);
  const batches: Tensor[] = [];
  for await (const { pixels } of new ImageBatches(paths, { imageSize, batchSize: BATCH }).epoch()) batches.push(pixels);
  return { batches, labels: images.map(({ labels }) => labels.label ?? "") };
}

/**
 * Shares of the test images whose label a linear classifier finds in the states of the last block: the class token and
 * the mean of the patches. The classifier is a ridge regression onto one-hot labels, whose solution is exact and takes a
 * second, so many encoders can be compared; `epalm fedmae finetune --probe` trains a logistic regression.
 */
export async function ridgeProbe(
  encoder: EncoderFolder,
  training: ProbeSet,
  test: ProbeSet,
): Promise<Record<Pool, number>> {
  const [train, held] = [await statesOf(encoder, training), await statesOf(encoder, test)];
  return {
    cls: accuracy(train.cls, training.labels, held.cls, test.labels),
    mean: accuracy(train.mean, training.labels, held.mean, test.labels),
  };
}

/** [N, d] for each pooling */
async function statesOf({ config, tensors }: EncoderFolder, { batches }: ProbeSet): Promise<Record<Pool, Matrix>> {
  const g = new GraphBuilder("states");
  const backbone = vit({ ...config, model_type: "vit" }, new ParameterReader(g, weightsInMemory(tensors, "encoder")));
  const { classTokens, patches } = backbone.through(g.input("pixels", "float32", ["batch", ...backbone.inputShape]));
  const shape = [-1, config.hidden_size];
  g.output("cls", g.reshape(g.slice(classTokens, 1, -1), shape));
  g.output("mean", g.reshape(g.mean(patches(), 1), shape));
  const session = await openSession(encodeOnnx(g.finish()), { threads: 1 });
  const rows: Record<Pool, number[][]> = { cls: [], mean: [] };
  for (const pixels of batches) {
    const results = await session.run({ pixels }, ["cls", "mean"]);
    for (const pool of ["cls", "mean"] as const) {
      const values = floats(results[pool]);
      for (let start = 0; start < values.length; start += config.hidden_size) {
        rows[pool].push(Array.from(values.subarray(start, start + config.hidden_size)));
      }
    }
  }
  await session.close();
  return { cls: new Matrix(rows.cls), mean: new Matrix(rows.mean) };
}

function accuracy(train: Matrix, labels: readonly string[], held: Matrix, truth: readonly string[]): number {
  const classes = Array.from(new Set(labels));
  const [mean, std] = [train.mean("column"), train.standardDeviation("column", { unbiased: false })];
  const safe = std.map((value) => value + 1e-6);
  const scaled = (states: Matrix) => states.clone().subRowVector(mean).divRowVector(safe);
  const inputs = scaled(train);
  const targets = Matrix.zeros(labels.length, classes.length);
  for (const [row, label] of labels.entries()) targets.set(row, classes.indexOf(label), 1);
  const shares = targets.mean("column");
  const transposed = inputs.transpose().div(labels.length);
  const correlations = transposed.mmul(inputs).add(Matrix.eye(inputs.columns).mul(RIDGE));
  const weights = solve(correlations, transposed.mmul(targets.subRowVector(shares)));
  const scores = scaled(held).mmul(weights).addRowVector(shares);
  const right = truth.filter((label, row) => classes[at(scores.maxRowIndex(row), 1)] === label);
  return right.length / truth.length;
}
