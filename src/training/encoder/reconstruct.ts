import { type MaeConfig, visiblePatches } from "../../backbones/encoders/mae.js";
import { patchesPerSide } from "../../backbones/encoders/vit.js";
import { weightsInMemory } from "../../backbones/weights-in-memory.js";
import { EpalmError } from "../../core/errors.js";
import { randomStreams } from "../../core/random.js";
import { encodeOnnx } from "../../graph/onnx-writer.js";
import { encodePng } from "../../media/decode/image/encode-png.js";
import { imagenetPreprocessing } from "../../preprocessing/image-preprocessing.js";
import { openSession } from "../../runtime/session.js";
import { floats, type Tensor } from "../../tensor/tensor.js";
import { ImageBatches } from "../data/image-batches.js";
import { maeGraph, maskFeeds, maskNoise } from "./mae-graph.js";

/** The images that a masked autoencoder reconstructs, and its loss on them. */
export interface Reconstruction {
  /** A PNG with one row per image: the original, the visible patches, and the reconstruction. */
  readonly png: Uint8Array;
  /** Mean squared errors over masked patches: of the decoder, and of predicting each patch's mean. */
  readonly loss: number;
  readonly meanPatchLoss: number;
}

/** Pixels between the images of the grid. */
const GAP = 4;
/** Level of masked patches and gaps, 0 to 1. */
const GRAY = 0.5;

/**
 * Masks images and reconstructs them with a masked autoencoder.
 *
 * @throws invalid_option without images; errors of decoding
 *
 * @example
 * ```ts
 * import { writeFileSync } from "node:fs";
 * import { readEncoderFolder, reconstruct, requireMae } from "epalm/fedmae";
 * const folder = await readEncoderFolder("mae");
 * const config = requireMae({ ...folder, path: "mae" });
 * writeFileSync("grid.png", (await reconstruct(config, folder.tensors, ["a.png"], 0)).png);
 * ```
 */
export async function reconstruct(
  config: MaeConfig,
  tensors: ReadonlyMap<string, Tensor>,
  paths: readonly string[],
  seed: number,
): Promise<Reconstruction> {
  const { graph } = maeGraph(config, weightsInMemory(tensors, "masked autoencoder"), () => false);
  const session = await openSession(encodeOnnx(graph));
  try {
    const pixels = await decodeAll(paths, config.image_size);
    const [random = Math.random] = randomStreams(seed, 1);
    const patches = patchesPerSide(config) ** 2;
    const mask = maskFeeds(maskNoise(random, paths.length, patches), visiblePatches(config));
    const {
      logits,
      loss,
      mean_patch_loss: meanPatchLoss,
    } = await session.run({ pixels, ...mask }, ["logits", "loss", "mean_patch_loss"]);
    return {
      png: await drawGrid(config, pixels, floats(logits), floats(mask.masked)),
      loss: Number(loss?.data[0]),
      meanPatchLoss: Number(meanPatchLoss?.data[0]),
    };
  } finally {
    await session.close();
  }
}

async function decodeAll(paths: readonly string[], imageSize: number): Promise<Tensor> {
  const batches = new ImageBatches(paths, { imageSize, batchSize: paths.length });
  for await (const { pixels } of batches.epoch()) return pixels;
  throw new EpalmError("invalid_option", "reconstruct: expected at least one image, got none");
}

async function drawGrid(
  config: MaeConfig,
  pixels: Tensor,
  logits: Float32Array,
  masked: Float32Array,
): Promise<Uint8Array> {
  const { image_size: side, patch_size: patch } = config;
  const count = pixels.shape[0] ?? 0;
  const [width, height] = [3 * side + 2 * GAP, count * (side + GAP) - GAP];
  const image = new Uint8Array(width * height * 3).fill(Math.round(255 * GRAY));
  const { mean, std } = imagenetPreprocessing(side);
  const perSide = side / patch;
  for (let row = 0; row < count; row++) {
    for (let index = 0; index < perSide * perSide; index++) {
      const original = patchOf(floats(pixels), row, index, config);
      const isMasked = masked[row * perSide * perSide + index] === 1;
      const size = original.length;
      const start = (row * perSide * perSide + index) * size;
      const predicted = logits.subarray(start, start + size);
      const shown = [
        original,
        isMasked ? undefined : original,
        isMasked ? inPixels(config, predicted, original) : original,
      ];
      shown.forEach((values, column) => {
        values?.forEach((value, at) => {
          const channel = at % 3;
          const y = row * (side + GAP) + Math.floor(index / perSide) * patch + Math.floor(at / 3 / patch);
          const x = column * (side + GAP) + (index % perSide) * patch + (Math.floor(at / 3) % patch);
          const level = value * (std[channel] ?? 1) + (mean[channel] ?? 0);
          image[(y * width + x) * 3 + channel] = Math.round(255 * Math.min(1, Math.max(0, level)));
        });
      });
    }
  }
  return encodePng(image, width, height);
}

/** One patch of an image in the layout of the decoder's predictions, channels last. */
function patchOf(
  data: Float32Array,
  row: number,
  index: number,
  { image_size: side, patch_size: patch }: MaeConfig,
): Float32Array {
  const perSide = side / patch;
  const [top, left] = [Math.floor(index / perSide) * patch, (index % perSide) * patch];
  return Float32Array.from({ length: patch * patch * 3 }, (_, at) => {
    const y = top + Math.floor(at / 3 / patch);
    const x = left + (Math.floor(at / 3) % patch);
    return data[((row * 3 + (at % 3)) * side + y) * side + x] ?? 0;
  });
}

/** Predictions of normalised patches are scaled with the original's mean and std, as in the published figures. */
function inPixels({ norm_pix_loss }: MaeConfig, predicted: Float32Array, original: Float32Array): Float32Array {
  if (!norm_pix_loss) return predicted;
  const mean = original.reduce((sum, value) => sum + value, 0) / original.length;
  const squares = original.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const std = Math.sqrt(squares / (original.length - 1) + 1e-6);
  return predicted.map((value) => value * std + mean);
}
