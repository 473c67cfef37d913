/** An encoder's input, `[3, H, W]`. */
export interface Pixels {
  readonly data: Float32Array;
  readonly height: number;
  readonly width: number;
}

export interface AugmentOptions {
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Whether an image is mirrored with probability 0.5. */
  readonly mirror: boolean;
  /** Minimum area of a crop as a fraction of the image. Default: 0.6, which usually keeps what the texts describe. */
  readonly leastArea?: number | undefined;
}

const RATIO = { least: 3 / 4, most: 4 / 3 };

/**
 * Takes a random crop, resizes it to the original size (bilinear) and possibly mirrors it: the random resized crop of
 * Szegedy et al. 2015, applied to preprocessed pixels.
 */
export function augmentPixels(
  { data, height, width }: Pixels,
  { random, mirror, leastArea = 0.6 }: AugmentOptions,
): Float32Array {
  const between = ({ least, most }: typeof RATIO) => least + (most - least) * random();
  const [area, ratio] = [between({ least: leastArea, most: 1 }), Math.sqrt(between(RATIO))];
  const cropHeight = Math.min(1, Math.sqrt(area) / ratio) * height;
  const cropWidth = Math.min(1, Math.sqrt(area) * ratio) * width;
  const top = random() * (height - cropHeight);
  const left = random() * (width - cropWidth);
  const turned = random() < 0.5 && mirror;
  const rows = samples(top, cropHeight, height);
  const columns = samples(left, cropWidth, width);
  if (turned) columns.reverse();
  const output = new Float32Array(data.length);
  for (let channel = 0; channel < 3; channel++) {
    const plane = data.subarray(channel * height * width, (channel + 1) * height * width);
    let at = channel * height * width;
    for (const row of rows) for (const column of columns) output[at++] = bilinear(plane, width, row, column);
  }
  return output;
}

/** Indices of two neighbouring pixels, and the weight of the second. */
interface Sample {
  readonly first: number;
  readonly second: number;
  readonly share: number;
}

/** Sampling positions of `count` output pixels in the `length` input pixels that begin at `start`. */
function samples(start: number, length: number, count: number): Sample[] {
  return Array.from({ length: count }, (_, index) => {
    const place = Math.min(count - 1, Math.max(0, start + ((index + 0.5) * length) / count - 0.5));
    const first = Math.floor(place);
    return { first, second: Math.min(count - 1, first + 1), share: place - first };
  });
}

function bilinear(plane: Float32Array, width: number, row: Sample, column: Sample): number {
  const at = (y: number, x: number) => plane[y * width + x] ?? 0;
  const mix = (y: number) => at(y, column.first) * (1 - column.share) + at(y, column.second) * column.share;
  return mix(row.first) * (1 - row.share) + mix(row.second) * row.share;
}
