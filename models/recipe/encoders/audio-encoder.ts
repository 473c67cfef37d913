import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Random, shuffled } from "../../../src/core/random.js";
import { logMel } from "../../../src/media/decode/audio/log-mel.js";
import { SAMPLING_RATE } from "../../../src/preprocessing/sampling-rate.js";
import { InputRows, type LabelledInputs } from "../../../src/training/index.js";
import { decodeWav } from "../data/audio/wav.js";
import { readLabelledMedia } from "../data/labelled-media.js";
import { type EncoderRunOptions, type SceneEncoderHooks, trainSceneEncoder } from "./train-scene-encoder.js";

/** Frames of 10 ms: 2.56 seconds. */
const FRAMES = 256;
const MEL_BINS = 64;

/** An AST with 1.9 million parameters and 5 x 16 patches (frequency x time). */
const config = {
  model_type: "audio-spectrogram-transformer",
  architectures: ["ASTModel"],
  hidden_size: 192,
  num_hidden_layers: 4,
  num_attention_heads: 6,
  intermediate_size: 768,
  patch_size: 16,
  frequency_stride: 12,
  time_stride: 16,
  max_length: FRAMES,
  num_mel_bins: MEL_BINS,
  hidden_act: "gelu",
  layer_norm_eps: 1e-6,
  qkv_bias: true,
};

/** Number of audio files from which mean and std are computed. */
const MEASURED = 1000;

export interface AudioEncoderOptions extends EncoderRunOptions {
  /** Folder that `writeAudioSet` wrote. */
  readonly training: string;
  /** Folders that `writeAudioSet` wrote, by name. */
  readonly tests: Readonly<Record<string, string>>;
  /** Folder in which the features of the audio files are kept for later runs. */
  readonly features: string;
}

/** Trains the audio encoder to classify the content of audio scenes; resumes from its checkpoint. */
export async function trainAudioEncoder(
  { training, tests, features, steps, ...options }: AudioEncoderOptions,
  hooks: SceneEncoderHooks = {},
): Promise<void> {
  const scale = await measuredScale(training, join(features, "scale.json"));
  const inputs = (name: string, set: string) => openAudio(set, join(features, `${name}.f32`), scale);
  const opened = await Promise.all(
    Object.entries(tests).map(async ([name, set]) => [name, await inputs(name, set)] as const),
  );
  await trainSceneEncoder(
    {
      ...options,
      config,
      preprocessor: {
        feature_extractor_type: "ASTFeatureExtractor",
        sampling_rate: SAMPLING_RATE,
        num_mel_bins: MEL_BINS,
        max_length: FRAMES,
        do_normalize: true,
        ...scale,
      },
      training: augmentedInputs(await inputs("training", training)),
      tests: Object.fromEntries(opened),
      steps,
      warmupSteps: Math.min(200, Math.ceil(steps / 10)),
    },
    hooks,
  );
}

/** Mean and std of the training set's log-mel energies, as in `preprocessor_config.json`. */
interface Scale {
  readonly mean: number;
  readonly std: number;
}

/** Leaves features unchanged, because `logMel` divides by twice the std. */
const UNSCALED: Scale = { mean: 0, std: 0.5 };

async function measuredScale(set: string, path: string): Promise<Scale> {
  if (existsSync(path)) return JSON.parse(readFileSync(path, "utf8")) as Scale;
  let [count, total, squares] = [0, 0, 0];
  for (const { path: audio } of readLabelledMedia(set, "audio").slice(0, MEASURED)) {
    for (const value of await featuresOf(audio, UNSCALED)) {
      count++;
      total += value;
      squares += value * value;
    }
  }
  const mean = total / count;
  const std = Math.sqrt(squares / count - mean * mean);
  const scale = { mean: Number(mean.toFixed(4)), std: Number(std.toFixed(4)) };
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(scale));
  return scale;
}

async function openAudio(set: string, path: string, scale: Scale): Promise<LabelledInputs> {
  const examples = readLabelledMedia(set, "audio");
  const shape = { rows: examples.length, size: FRAMES * MEL_BINS };
  const rows = await InputRows.open(path, shape, (row) => featuresOf(examples[row]?.path ?? "", scale));
  return { examples, input: (index) => ({ data: rows.read(index) }) };
}

function featuresOf(path: string, scale: Scale): Promise<Float32Array> {
  const audio = { data: decodeWav(readFileSync(path)), sampleRate: SAMPLING_RATE } as const;
  return logMel(audio, { samplingRate: SAMPLING_RATE, maxLength: FRAMES, melBins: MEL_BINS, ...scale });
}

function augmentedInputs({ examples, input }: LabelledInputs): LabelledInputs {
  return {
    examples,
    input: async (index, random) => ({ data: augmented((await input(index, random)).data, random) }),
  };
}

/** Maximum shift in time in either direction, in frames. */
const MOST_MOVED = 10;
/** Maximum number of adjacent mel bins that are masked (Park et al. 2019). */
const MOST_HIDDEN = 6;
/** Maximum std of the added noise; the std of the features is about 0.5. */
const MOST_NOISE = 0.05;

/** Shifts the features in time, masks some bins and adds weak noise, none of which changes the labels. */
function augmented(features: Float32Array, random: Random): Float32Array {
  const moved = Math.round((2 * random() - 1) * MOST_MOVED) * MEL_BINS;
  const output = new Float32Array(features.length);
  const noise = MOST_NOISE * random() * Math.sqrt(12);
  for (let i = 0; i < features.length; i++) {
    const from = Math.max(0, Math.min(features.length - MEL_BINS, i - (i % MEL_BINS) - moved)) + (i % MEL_BINS);
    output[i] = (features[from] as number) + noise * (random() - 0.5);
  }
  const hidden = Math.floor(random() * (MOST_HIDDEN + 1));
  const [first = 0] = shuffled(
    Array.from({ length: MEL_BINS - hidden }, (_, bin) => bin),
    random,
  );
  for (let frame = 0; frame < FRAMES; frame++) {
    output.fill(0, frame * MEL_BINS + first, frame * MEL_BINS + first + hidden);
  }
  return output;
}
