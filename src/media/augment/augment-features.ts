import type { Random } from "../../core/random.js";
import type { AudioPreprocessing } from "../../preprocessing/audio-preprocessing.js";
import { type Augmentation, contentRandom } from "./augmentation.js";

/** Noise is uniform between 0 and a random value below this one. */
const MAX_NOISE = 0.1;

/** Frames by which noisy features are shifted at most in either direction. */
const MAX_SHIFT = 10;

/**
 * Changes the features of audio, `[maxLength, melBins]`, as the published code: SpecAugment (arXiv 1904.08779) with one
 * band of mel bins and one range of frames, whose energies become 0 before normalisation; then AST's noise and shift,
 * which wraps around.
 */
export function augmentFeatures(
  features: Float32Array,
  preprocessing: AudioPreprocessing,
  augmentation: Augmentation,
): Float32Array {
  const { maxLength, melBins } = preprocessing;
  const random = contentRandom(augmentation);
  const { specAugment, noise } = augmentation.settings;
  const output = Float32Array.from(features);
  if (specAugment) {
    const silence = maskedValue(preprocessing);
    const [low, high] = maskedRange(specAugment.frequency, melBins, random);
    for (let frame = 0; frame < maxLength; frame++) output.fill(silence, frame * melBins + low, frame * melBins + high);
    const [first, end] = maskedRange(specAugment.time, maxLength, random);
    output.fill(silence, first * melBins, end * melBins);
  }
  return noise ? shifted(noisy(output, random), melBins, random) : output;
}

/** The value of a masked energy: 0 before AST's normalisation; 0 after Whisper's, as in its published fine-tuning. */
function maskedValue(preprocessing: AudioPreprocessing): number {
  return preprocessing.features === "whisper" ? 0 : (0 - preprocessing.mean) / (2 * preprocessing.std);
}

/** A range of up to `most` of `length` places, as torchaudio's masking. */
function maskedRange(most: number, length: number, random: Random): [first: number, end: number] {
  const width = random() * Math.min(most, length);
  const first = Math.floor(random() * (length - width));
  return [first, first + Math.floor(width)];
}

function noisy(features: Float32Array, random: Random): Float32Array {
  const most = random() * MAX_NOISE;
  return features.map((value) => value + random() * most);
}

function shifted(features: Float32Array, melBins: number, random: Random): Float32Array {
  const frames = features.length / melBins;
  const shift = Math.floor(random() * 2 * MAX_SHIFT) - MAX_SHIFT;
  const output = new Float32Array(features.length);
  for (let frame = 0; frame < frames; frame++) {
    const to = (((frame + shift) % frames) + frames) % frames;
    output.set(features.subarray(frame * melBins, (frame + 1) * melBins), to * melBins);
  }
  return output;
}
