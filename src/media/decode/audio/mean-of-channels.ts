import { unexpected } from "../../../core/errors.js";

/** In bytes; ffmpeg's header of a WAV takes a tenth of this. */
const MAX_HEADER = 1024;

const SAMPLE_BYTES = Float32Array.BYTES_PER_ELEMENT;

/** The most channels of a WAV that ffmpeg writes. */
const MAX_CHANNELS = 64;

/**
 * Reads a WAV of 32-bit floats, [samples, channels], and averages the channels of each sample. Reads `length` samples,
 * or fewer if the stream ends earlier.
 */
export async function readMeanOfChannels(output: AsyncIterable<Buffer>, length: number): Promise<Float32Array> {
  let means = new Float32Array(Math.min(length, 1 << 18));
  let count = 0;
  let channels: number | undefined;
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of output) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    if (channels === undefined) {
      const header = headerOf(rest);
      if (header === undefined) continue;
      channels = header.channels;
      rest = rest.subarray(header.length);
    }
    const whole = Math.min(Math.floor(rest.length / (channels * SAMPLE_BYTES)), length - count);
    if (count + whole > means.length) means = grown(means, Math.min(length, 2 * (count + whole)));
    for (let sample = 0; sample < whole; sample++) means[count + sample] = meanAt(rest, sample * channels, channels);
    count += whole;
    if (count === length) break;
    rest = rest.subarray(whole * channels * SAMPLE_BYTES);
  }
  return means.slice(0, count);
}

function meanAt(samples: Buffer, first: number, channels: number): number {
  let sum = 0;
  for (let at = first; at < first + channels; at++) sum += samples.readFloatLE(at * SAMPLE_BYTES);
  return sum / channels;
}

/** The number of channels and the length of a header; undefined if it is incomplete. */
function headerOf(wav: Buffer): { readonly channels: number; readonly length: number } | undefined {
  const data = wav.subarray(0, MAX_HEADER).indexOf("data", 0, "latin1");
  if (data < 0 || wav.length < data + 8) {
    if (wav.length < MAX_HEADER) return undefined;
    throw unexpected("internal", "ffmpeg", "a WAV", "other bytes");
  }
  const channels = wav.readUInt16LE(22);
  if (channels < 1 || channels > MAX_CHANNELS) {
    throw unexpected("internal", "ffmpeg", `1 to ${MAX_CHANNELS} channels`, channels);
  }
  return { channels, length: data + 8 };
}

function grown(samples: Float32Array, length: number): Float32Array<ArrayBuffer> {
  const larger = new Float32Array(length);
  larger.set(samples);
  return larger;
}
