import { type Random, randomStreams, shuffled } from "../../core/random.js";
import { augmentPixels } from "../../media/augment-pixels.js";
import { decodeImage } from "../../media/decode/image/image.js";
import { imagenetPreprocessing } from "../../preprocessing/image-preprocessing.js";
import type { Tensor } from "../../tensor/tensor.js";

export interface ImageBatchOptions {
  /** Side of the images in pixels. */
  readonly imageSize: number;
  readonly batchSize: number;
  /** Random crops and mirroring. Default: the images are unchanged. */
  readonly augment?: { readonly leastArea: number; readonly mirror: boolean } | undefined;
}

/** Bytes of decoded images that are kept for the next epoch; small, because clients have little memory. */
const CACHE_BYTES = 64 * 1024 * 1024;

/** A batch of images, and their indices in the list. */
export interface ImageBatch {
  /** [B, 3, H, W] */
  readonly pixels: Tensor;
  readonly indices: readonly number[];
}

/** Batches of images; the last batch of an epoch may be smaller. */
export class ImageBatches {
  readonly #paths: readonly string[];
  readonly #options: ImageBatchOptions;
  readonly #cache = new Map<number, Float32Array>();
  readonly #cacheSize: number;

  constructor(paths: readonly string[], options: ImageBatchOptions) {
    this.#paths = paths;
    this.#options = options;
    this.#cacheSize = Math.floor(CACHE_BYTES / (4 * 3 * options.imageSize ** 2));
  }

  get batchesPerEpoch(): number {
    return Math.ceil(this.#paths.length / this.#options.batchSize);
  }

  /** The batches of one epoch, shuffled by the seed; without a seed, in the order of the list. */
  async *epoch(seed?: number): AsyncGenerator<ImageBatch> {
    const [order = Math.random, crops = Math.random] = randomStreams(seed ?? 0, 2);
    const all = Array.from(this.#paths.keys());
    const indices = seed === undefined ? all : shuffled(all, order);
    const { batchSize } = this.#options;
    for (let start = 0; start < indices.length; start += batchSize) {
      const chosen = indices.slice(start, start + batchSize);
      const decoded = await Promise.all(chosen.map((index) => this.#decoded(index)));
      yield { pixels: this.#stack(decoded, crops), indices: chosen };
    }
  }

  async #decoded(index: number): Promise<Float32Array> {
    const known = this.#cache.get(index);
    if (known) return known;
    const path = this.#paths[index] ?? "";
    const pixels = await decodeImage(path, imagenetPreprocessing(this.#options.imageSize));
    if (this.#cache.size < this.#cacheSize) this.#cache.set(index, pixels);
    return pixels;
  }

  #stack(images: readonly Float32Array[], random: Random): Tensor {
    const { imageSize, augment } = this.#options;
    const size = 3 * imageSize ** 2;
    const data = new Float32Array(images.length * size);
    images.forEach((pixels, row) => {
      const view = { data: pixels, height: imageSize, width: imageSize };
      data.set(augment ? augmentPixels(view, { random, ...augment }) : pixels, row * size);
    });
    return { type: "float32", shape: [images.length, 3, imageSize, imageSize], data };
  }
}
