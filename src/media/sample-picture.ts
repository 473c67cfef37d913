import sharp from "sharp";

const [WIDTH, HEIGHT] = [640, 480];

/** What `samplePicture` makes, in words. */
export const SAMPLE_PICTURE = `JPEG of ${WIDTH} x ${HEIGHT}`;

/**
 * A picture to measure with: soft shapes with a fine texture, which compress like a photograph; flat colours or noise
 * would not. Other seeds give other pictures.
 */
export function samplePicture(seed = 0): Promise<Buffer> {
  const pixels = Uint8Array.from({ length: WIDTH * HEIGHT * 3 }, (_, index) => {
    const [place, channel] = [Math.floor(index / 3), index % 3];
    const [x, y] = [(place % WIDTH) + seed, Math.floor(place / WIDTH)];
    const shapes = Math.sin(x / (23 + 7 * channel)) + Math.cos(y / (31 - 5 * channel) + x / 90);
    return 128 + 45 * shapes + 8 * Math.sin(x * y);
  });
  return sharp(pixels, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
    .jpeg({ quality: 90 })
    .toBuffer();
}
