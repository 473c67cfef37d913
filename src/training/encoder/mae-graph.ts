import { gradient } from "../../autodiff/gradient.js";
import { type Mae, mae, maeConfig } from "../../backbones/encoders/mae.js";
import type { WeightSource } from "../../backbones/parameters.js";
import { at } from "../../core/at.js";
import type { Random } from "../../core/random.js";
import { GraphBuilder } from "../../graph/builder.js";
import type { Graph } from "../../graph/ir.js";
import type { Feeds } from "../../runtime/session.js";
import { floats, type Tensor } from "../../tensor/tensor.js";
import { TrainedParameters } from "../trained-parameters.js";

/**
 * A masked autoencoder in training, for batches of B images with N patches. Inputs: `pixels` [B, 3, H, W];
 * `visible_rows` int64 [B * V], `restore_rows` int64 [B * N] and `masked` [B, N] (see `maskFeeds`); and the trained
 * tensors by name. Outputs: `loss`, the mean squared error over masked patches; `mean_patch_loss`, the error of
 * predicting the mean of a patch for each of its pixels; `logits` [B, N, patch^2 * 3]; and `gradient of NAME` for each
 * trained tensor.
 *
 * @param isTrained not called for positions, which are fixed as published
 */
export function maeGraph(
  config: unknown,
  weights: WeightSource,
  isTrained: (name: string) => boolean = () => true,
): { graph: Graph; trained: readonly string[] } {
  const g = new GraphBuilder("mae");
  const parameters = new TrainedParameters(g, weights, (name) => !isPosition(name) && isTrained(name));
  const model = mae(config, parameters);
  const [pixels, mask, masked] = maskedInputs(g, model, maeConfig.parse(config).image_size);
  const predicted = model.predict(pixels, mask);
  const target = model.target(pixels);
  const count = g.sum(masked, [0, 1], false);
  const overMasked = (difference: typeof target) => {
    const perPatch = g.squeeze(g.mean(g.multiply(difference, difference), -1), 2);
    return g.divide(g.sum(g.multiply(perPatch, masked), [0, 1], false), count);
  };
  g.output("logits", predicted);
  g.output("loss", overMasked(g.subtract(predicted, target)));
  g.output("mean_patch_loss", overMasked(target));
  const { trained } = parameters;
  const forward = g.finish();
  return { graph: trained.length > 0 ? gradient(forward, "loss", trained) : forward, trained };
}

export function isPosition(name: string): boolean {
  return name.endsWith("pos_embed");
}

function maskedInputs(g: GraphBuilder, { patches, visible }: Mae, side: number) {
  // The graph would treat `batch*1` and `batch` as different sizes.
  const perImage = (count: number) => (count === 1 ? "batch" : `batch*${count}`);
  const pixels = g.input("pixels", "float32", ["batch", 3, side, side]);
  const mask = {
    visibleRows: g.input("visible_rows", "int64", [perImage(visible)]),
    restoreRows: g.input("restore_rows", "int64", [perImage(patches)]),
  };
  return [pixels, mask, g.input("masked", "float32", ["batch", patches])] as const;
}

/**
 * The published random masking: of the N patches of an image, the V with the lowest noise are visible. The rows of
 * visible patches are in the order of their noise.
 *
 * @param noise [B, N]
 */
export function maskFeeds(noise: Tensor, visible: number): Feeds {
  const [batch = 0, patches = 0] = noise.shape;
  const visibleRows = new BigInt64Array(batch * visible);
  const restoreRows = new BigInt64Array(batch * patches).fill(BigInt(batch * visible));
  const masked = new Float32Array(batch * patches).fill(1);
  for (let row = 0; row < batch; row++) {
    const values = floats(noise).subarray(row * patches, (row + 1) * patches);
    const order = Array.from(values.keys()).sort((a, b) => at(values, a) - at(values, b));
    order.slice(0, visible).forEach((patch, place) => {
      visibleRows[row * visible + place] = BigInt(row * patches + patch);
      restoreRows[row * patches + patch] = BigInt(row * visible + place);
      masked[row * patches + patch] = 0;
    });
  }
  return {
    visible_rows: { type: "int64", shape: [batch * visible], data: visibleRows },
    restore_rows: { type: "int64", shape: [batch * patches], data: restoreRows },
    masked: { type: "float32", shape: [batch, patches], data: masked },
  };
}

/** Uniform noise [B, N] for `maskFeeds`. */
export function maskNoise(random: Random, batch: number, patches: number): Tensor {
  const data = Float32Array.from({ length: batch * patches }, random);
  return { type: "float32", shape: [batch, patches], data };
}
