import { setImmediate as nextTurn } from "node:timers/promises";
import { unexpected } from "../../../core/errors.js";
import type {
  AudioPreprocessing,
  KaldiPreprocessing,
  WhisperPreprocessing,
} from "../../../preprocessing/audio-preprocessing.js";
import { SAMPLING_RATE } from "../../../preprocessing/sampling-rate.js";
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

/** The number of samples from which an encoder's input is computed; further samples would be cut. */
export function neededSamples({ features, maxLength }: Pick<AudioPreprocessing, "features" | "maxLength">): number {
  return features === "whisper" ? maxLength * STEP : kaldiSamples(maxLength);
}

/** The number of samples of `frames` windows. */
const kaldiSamples = (frames: number) => FRAME + (frames - 1) * STEP;

/**
 * Computes an audio encoder's input, `[maxLength, melBins]`, row-major, by transformers.js.
 *
 * @param where the medium's name in errors
 * @throws invalid_option (another sampling rate), invalid_media (shorter than one frame, or NaN or Infinity)
 */
export async function logMel(
  { data, sampleRate }: Waveform,
  preprocessing: AudioPreprocessing,
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
  return preprocessing.features === "whisper"
    ? whisperFeatures(data, preprocessing)
    : kaldiFeatures(data, preprocessing);
}

/**
 * Log-mel filter banks as in Kaldi, which AST uses: Hanning window of 25 ms every 10 ms, pre-emphasis 0.97, no dither.
 * Features are cut or padded with zeros and then normalised. The result equals Hugging Face's `ASTFeatureExtractor` to
 * within 1e-6.
 */
async function kaldiFeatures(
  data: Float32Array,
  { maxLength, melBins, mean, std }: KaldiPreprocessing,
): Promise<Float32Array> {
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
    const samples = data.subarray(first * STEP, first * STEP + kaldiSamples(count));
    if (samples.length < FRAME) break;
    const { input_values: piece } = await extract(samples);
    output.set(piece.data.subarray(0, count * melBins), first * melBins);
    await nextTurn();
  }
  return output;
}

/** Frames at the borders of a piece whose windows of 25 ms may reach beyond it. */
const MARGIN = 2;

/** Whisper's features of silence: log10(1e-10), plus 4, divided by 4. */
const SILENCE = -1.5;

/** Whisper's features do not lie further below the largest one: 8 orders of magnitude, divided by 4. */
const RANGE = 2;

/**
 * Whisper's features: the decimal logarithm of Slaney's mel filter banks over Hanning windows of 25 ms, centred every
 * 10 ms, not below the largest value less 8, plus 4, divided by 4. Audio is cut or padded with silence first. The
 * result equals Hugging Face's `WhisperFeatureExtractor` to within 2e-5.
 *
 * Pieces are computed with frames of their neighbours, which are then dropped. Each is limited by its own largest
 * value, which is at most that of the whole, so that the limit of the whole can be applied in the end.
 */
async function whisperFeatures(
  data: Float32Array,
  { maxLength, melBins }: WhisperPreprocessing,
): Promise<Float32Array> {
  const { WhisperFeatureExtractor } = await import("@xenova/transformers");
  disableCache();
  const waveform = new Float32Array(maxLength * STEP);
  const extract = new WhisperFeatureExtractor({
    ...{ sampling_rate: SAMPLING_RATE, feature_size: melBins, hop_length: STEP, n_fft: FRAME },
    ...{ n_samples: waveform.length, nb_max_frames: maxLength },
  });
  waveform.set(data.subarray(0, waveform.length));
  const heard = Math.min(maxLength, Math.ceil(data.length / STEP) + MARGIN);
  const output = new Float32Array(maxLength * melBins).fill(SILENCE);
  for (let first = 0; first < heard; first += PIECE) {
    const [start, end] = [Math.max(0, first - MARGIN), Math.min(maxLength, first + PIECE + MARGIN)];
    const frames = end - start;
    const piece = waveform.subarray(start * STEP, end * STEP);
    const { input_features: byBand } = await extract(piece, { max_length: piece.length });
    for (let frame = first; frame < Math.min(first + PIECE, end); frame++) {
      for (let band = 0; band < melBins; band++) {
        output[frame * melBins + band] = byBand.data[band * frames + frame - start] ?? SILENCE;
      }
    }
    await nextTurn();
  }
  const lowest = output.reduce((most, value) => Math.max(most, value), SILENCE) - RANGE;
  return output.map((value) => Math.max(value, lowest));
}
