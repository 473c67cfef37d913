import { SAMPLING_RATE } from "../../../../src/preprocessing/sampling-rate.js";
import type { Signal } from "./signals.js";

/** Bytes before the samples: only the RIFF, `fmt ` and `data` headers. */
const HEADER = 44;
const FULL_SCALE = 32_767;

/** Encodes a WAV file with one channel, 16 bits per sample and 16 kHz; samples beyond [-1, 1] are clipped. */
export function encodeWav(samples: Signal): Buffer {
  const file = Buffer.alloc(HEADER + 2 * samples.length);
  file.write("RIFF", 0);
  file.writeUInt32LE(file.length - 8, 4);
  file.write("WAVEfmt ", 8);
  file.writeUInt32LE(16, 16);
  file.writeUInt16LE(1, 20);
  file.writeUInt16LE(1, 22);
  file.writeUInt32LE(SAMPLING_RATE, 24);
  file.writeUInt32LE(2 * SAMPLING_RATE, 28);
  file.writeUInt16LE(2, 32);
  file.writeUInt16LE(16, 34);
  file.write("data", 36);
  file.writeUInt32LE(2 * samples.length, 40);
  samples.forEach((value, i) => {
    const cut = Math.max(-1, Math.min(1, value));
    file.writeInt16LE(Math.round(cut * FULL_SCALE), HEADER + 2 * i);
  });
  return file;
}

/**
 * Decodes a WAV file of the same form. Starting a decoder process for each of thousands of files would take minutes.
 */
export function decodeWav(file: Buffer): Signal {
  return Float32Array.from(
    { length: (file.length - HEADER) >> 1 },
    (_, i) => file.readInt16LE(HEADER + 2 * i) / (FULL_SCALE + 1),
  );
}
