import { setImmediate as nextTurn } from "node:timers/promises";
import { unexpected } from "../../../core/errors.js";
import { type AudioPreprocessing, SAMPLING_RATE } from "../../../preprocessing/audio-preprocessing.js";
import { disableCache } from "../image/sharp-pixels.js";

/** Audio with one channel. */
export interface Waveform {
  /** Samples, usually in [-1, 1]. */
  readonly data: Float32Array;
  /** Samples per second. */
  readonly sampleRate: typeof SAMPLING_RATE;
}

/** In samples: windows of 25 ms every 10 ms. */
const FRAME = 400;
const STEP = 160;

/** Number of frames that are computed at once, which takes 5 ms; other work can run between two such pieces. */
const PIECE = 128;

/** The number of samples from which `frames` frames are computed; further samples would be cut. */
export function neededSamples(frames: number): number {
  return FRAME + (frames - 1) * STEP;
}

/**
 * Computes an audio encoder's input, `[maxLength, melBins]`, row-major: Kaldi's log-mel filter banks as AST uses them
 * (Hanning window of 25 ms every 10 ms, pre-emphasis 0.97, no dither), computed by transformers.js. Features are cut or
 * padded with zeros and then normalised. The result equals Hugging Face's `ASTFeatureExtractor` to within 1e-6.
 *
 * @param where the medium's name in errors
 * @throws invalid_option (another sampling rate), invalid_media (shorter than one frame, or NaN or Infinity)
 */
export async function logMel(
  { data, sampleRate }: Waveform,
  { maxLength, melBins, mean, std }: AudioPreprocessing,
  where = "audio",
): Promise<Float32Array> {
  const rate: number = sampleRate;
  if (rate !== SAMPLING_RATE) {
    throw unexpected("invalid_option", "sampleRate", String(SAMPLING_RATE), rate);
  }
  if (data.length < FRAME) {
    throw unexpected("invalid_media", where, `at least ${FRAME} samples (25 ms)`, data.length);
  }
  if (!data.every(Number.isFinite)) {
    throw unexpected("invalid_media", where, "finite samples", "NaN or Infinity");
  }
  // Imported only when needed: the package takes a third of a second to load.
  const { ASTFeatureExtractor } = await import("@xenova/transformers");
  disableCache();
  const extract = new ASTFeatureExtractor({
    ...{ sampling_rate: SAMPLING_RATE, num_mel_bins: melBins, max_length: PIECE },
    ...{ do_normalize: true, mean, std },
  });
  const output = new Float32Array(maxLength * melBins).fill((0 - mean) / (2 * std));
  for (let first = 0; first < maxLength; first += PIECE) {
    const count = Math.min(PIECE, maxLength - first);
    const samples = data.subarray(first * STEP, first * STEP + neededSamples(count));
    if (samples.length < FRAME) break;
    const { input_values: piece } = await extract(samples);
    output.set(piece.data.subarray(0, count * melBins), first * melBins);
    await nextTurn();
  }
  return output;
}
