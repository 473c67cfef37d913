import { z } from "zod";
import { parse } from "../core/schema.js";

/** The only rate that published audio encoders were trained at, in Hertz. */
export const SAMPLING_RATE = 16_000;

/** Public models have at most 128 bins and 1024 frames, 10 seconds; more is taken for a damaged file. */
const MAX_MEL_BINS = 1024;
const MAX_FRAMES = 65_536;

/**
 * How a sound becomes an encoder's input; stored in the manifest of a model folder. One channel, log-mel energies of
 * windows of 25 ms, 10 ms apart, as Kaldi computes them; what is longer is cut, what is shorter filled up with zeros;
 * then `(value - mean) / (2 * std)`, as published for AST.
 */
export const audioPreprocessingSchema = z.strictObject({
  /** Hertz. */
  samplingRate: z.literal(SAMPLING_RATE),
  melBins: z.int().min(1).max(MAX_MEL_BINS),
  /** Frames: windows in time. */
  maxLength: z.int().min(1).max(MAX_FRAMES),
  mean: z.number(),
  std: z.number().positive(),
});

export type AudioPreprocessing = z.infer<typeof audioPreprocessingSchema>;

/** What an encoder of sounds takes: frames, and bins of each. */
export type SpectrogramSize = Pick<AudioPreprocessing, "maxLength" | "melBins">;

/** Of AudioSet's log-mel energies, as published with AST. */
const AUDIOSET = { mean: -4.2677393, std: 4.5689974 } as const;

/** Halved, as `std` is doubled when it is used: values stay as they are. */
const UNCHANGED = { mean: 0, std: 0.5 } as const;

export function publishedAudioPreprocessing({ maxLength, melBins }: SpectrogramSize): AudioPreprocessing {
  return { samplingRate: SAMPLING_RATE, melBins, maxLength, ...AUDIOSET };
}

const extractorConfig = z.object({
  feature_extractor_type: z.literal("ASTFeatureExtractor").default("ASTFeatureExtractor"),
  feature_size: z.literal(1).default(1),
  sampling_rate: audioPreprocessingSchema.shape.samplingRate.default(SAMPLING_RATE),
  num_mel_bins: audioPreprocessingSchema.shape.melBins.default(128),
  max_length: audioPreprocessingSchema.shape.maxLength.default(1024),
  do_normalize: z.boolean().default(true),
  mean: audioPreprocessingSchema.shape.mean.default(AUDIOSET.mean),
  std: audioPreprocessingSchema.shape.std.default(AUDIOSET.std),
});

/**
 * The settings in a `preprocessor_config.json` of Hugging Face's `ASTFeatureExtractor`, its defaults where the file is
 * silent. `where` names the file in errors: `unsupported_architecture` for a value that cannot be followed, by key.
 */
export function parseFeatureExtractorConfig(json: unknown, where: string): AudioPreprocessing {
  const config = parse(extractorConfig, json, where, "unsupported_architecture");
  return {
    samplingRate: config.sampling_rate,
    melBins: config.num_mel_bins,
    maxLength: config.max_length,
    ...(config.do_normalize ? { mean: config.mean, std: config.std } : UNCHANGED),
  };
}
