import type { Random } from "../../core/random.js";
import type { ImageSize } from "../../preprocessing/image-preprocessing.js";
import type { RgbImage } from "../resample.js";

/** Width divided by height of a crop. */
const RATIO = { least: 3 / 4, most: 4 / 3 };

/** Attempts to find a crop that fits into the image, as in torchvision. */
const ATTEMPTS = 10;

export interface Box extends ImageSize {
  readonly top: number;
  readonly left: number;
}

/**
 * The box of torchvision's RandomResizedCrop (Szegedy et al. 2015): its area is uniform in `scale` times the image's
 * area, and the logarithm of its aspect ratio is uniform. If no box fits, it is the largest one in the centre with a
 * permitted ratio.
 */
export function randomCrop({ height, width }: ImageSize, scale: readonly [number, number], random: Random): Box {
  const between = (least: number, most: number) => least + (most - least) * random();
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const area = height * width * between(...scale);
    const ratio = Math.exp(between(Math.log(RATIO.least), Math.log(RATIO.most)));
    const box = { height: Math.round(Math.sqrt(area / ratio)), width: Math.round(Math.sqrt(area * ratio)) };
    if (box.height < 1 || box.width < 1 || box.height > height || box.width > width) continue;
    const top = Math.floor(random() * (height - box.height + 1));
    return { ...box, top, left: Math.floor(random() * (width - box.width + 1)) };
  }
  const ratio = Math.min(RATIO.most, Math.max(RATIO.least, width / height));
  const box = {
    height: Math.min(height, Math.max(1, Math.round(width / ratio))),
    width: Math.min(width, Math.max(1, Math.round(height * ratio))),
  };
  return { ...box, top: Math.floor((height - box.height) / 2), left: Math.floor((width - box.width) / 2) };
}

export function cropped(image: RgbImage, { top, left, height, width }: Box): RgbImage {
  const data = new Uint8Array(height * width * 3);
  for (let row = 0; row < height; row++) {
    const start = ((top + row) * image.width + left) * 3;
    data.set(image.data.subarray(start, start + width * 3), row * width * 3);
  }
  return { height, width, data };
}

export function mirrored({ height, width, data }: RgbImage): RgbImage {
  const output = new Uint8Array(data.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = (row * width + column) * 3;
      output.set(data.subarray(from, from + 3), (row * width + width - 1 - column) * 3);
    }
  }
  return { height, width, data: output };
}
