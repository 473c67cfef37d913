import { setImmediate as nextTurn } from "node:timers/promises";
import { unexpected } from "../../../core/errors.js";
import { type AudioPreprocessing, SAMPLING_RATE } from "../../../preprocessing/audio-preprocessing.js";

/** Sound of one channel. */
export interface Waveform {
  /** Mostly in [-1, 1]. */
  readonly data: Float32Array;
  /** Samples per second. */
  readonly sampleRate: typeof SAMPLING_RATE;
}

/** In samples: 25 ms, every 10 ms. */
const FRAME = 400;
const STEP = 160;

/** Frames that are worked on at once, 5 ms; between two such pieces others get their turn. */
const PIECE = 128;

/** As many samples as frames are made of: more would be cut. */
export function neededSamples(frames: number): number {
  return FRAME + (frames - 1) * STEP;
}

/**
 * An audio encoder's input: Kaldi's log-mel filter banks as AST takes them (Hanning window of 25 ms every 10 ms,
 * pre-emphasis 0.97, no dither), computed by transformers.js, normalised, cut or filled up with zeros before that to
 * `[maxLength, melBins]`, row-major. Equal to Hugging Face's `ASTFeatureExtractor` to 1e-6.
 *
 * @param where what errors call it
 * @throws invalid_option (another sampling rate), invalid_media (shorter than a frame, samples that are no numbers)
 */
export async function logMel(
  { data, sampleRate }: Waveform,
  { maxLength, melBins, mean, std }: AudioPreprocessing,
  where = "sound",
): Promise<Float32Array> {
  const rate: number = sampleRate;
  if (rate !== SAMPLING_RATE) {
    throw unexpected("invalid_option", "sampleRate", String(SAMPLING_RATE), rate);
  }
  if (data.length < FRAME) {
    throw unexpected("invalid_media", where, `at least 25 ms, ${FRAME} samples`, data.length);
  }
  if (!data.every(Number.isFinite)) {
    throw unexpected("invalid_media", where, "numbers", "samples that are none");
  }
  // Imported late, as the tokenizer does: the package takes a third of a second.
  const { ASTFeatureExtractor } = await import("@xenova/transformers");
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
