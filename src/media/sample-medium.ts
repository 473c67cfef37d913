import sharp from "sharp";
import type { Modality } from "../core/modality.js";
import { SAMPLING_RATE } from "../preprocessing/sampling-rate.js";
import { FRAMES, HEIGHT, SECONDS, WIDTH } from "./sample-words.js";

/** Creates a medium for benchmarks; different seeds give different media. */
export async function sampleMedium(kind: Modality, seed = 0): Promise<Buffer> {
  switch (kind) {
    case "image":
      return sampleImage(seed);
    case "audio":
      return sampleAudio(seed);
    case "video": {
      const frames = await Promise.all(Array.from({ length: FRAMES }, (_, at) => sampleImage(seed + 9 * at)));
      return sharp(frames, { join: { animated: true } })
        .webp()
        .toBuffer();
    }
    default:
      return kind satisfies never;
  }
}

/** Soft shapes with a fine texture, which compress like a photograph, unlike flat colours or noise. */
function sampleImage(seed: number): Promise<Buffer> {
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

/** A 16-bit mono tone of varying loudness. */
function sampleAudio(seed: number): Buffer {
  const samples = Int16Array.from({ length: SECONDS * SAMPLING_RATE }, (_, at) => {
    const time = at / SAMPLING_RATE;
    return 8000 * (1 + Math.sin(3 * time)) * Math.sin(2 * Math.PI * (220 + 10 * seed) * time);
  });
  const header = Buffer.alloc(44);
  header.write("RIFF", 0, "latin1");
  header.writeUInt32LE(36 + samples.byteLength, 4);
  header.write("WAVEfmt ", 8, "latin1");
  // Format chunk: length, PCM, channels, sampling rate, bytes per second, bytes per frame, bits per sample.
  for (const [value, at, bytes] of [
    [16, 16, 4],
    [1, 20, 2],
    [1, 22, 2],
    [SAMPLING_RATE, 24, 4],
    [2 * SAMPLING_RATE, 28, 4],
    [2, 32, 2],
    [16, 34, 2],
  ] as const) {
    header.writeUIntLE(value, at, bytes);
  }
  header.write("data", 36, "latin1");
  header.writeUInt32LE(samples.byteLength, 40);
  return Buffer.concat([header, Buffer.from(samples.buffer)]);
}
