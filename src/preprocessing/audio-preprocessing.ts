import { z } from "zod";
import { parse } from "../core/schema.js";

/** Sampling rate in Hz; all published audio encoders were trained at this rate. */
export const SAMPLING_RATE = 16_000;

/** Public models have at most 128 bins and 1024 frames (10 seconds); a value above a bound indicates a damaged file. */
const MAX_MEL_BINS = 1024;
const MAX_FRAMES = 65_536;

/**
 * How audio is converted to an encoder's input; stored in the manifest of a model folder. The input consists of log-mel
 * energies of one channel, computed as in Kaldi from windows of 25 ms every 10 ms. Longer audio is cut, and shorter
 * audio is padded with zeros. Values are normalised to `(value - mean) / (2 * std)`, as published for AST.
 */
export const audioPreprocessingSchema = z.strictObject({
  /** In Hz. */
  samplingRate: z.literal(SAMPLING_RATE),
  melBins: z.int().min(1).max(MAX_MEL_BINS),
  /** Number of frames (windows in time). */
  maxLength: z.int().min(1).max(MAX_FRAMES),
  mean: z.number(),
  std: z.number().positive(),
});

export type AudioPreprocessing = z.infer<typeof audioPreprocessingSchema>;

/** The input size of an audio encoder: frames, and mel bins per frame. */
export type SpectrogramSize = Pick<AudioPreprocessing, "maxLength" | "melBins">;

/** Statistics of AudioSet's log-mel energies, as published with AST. */
const AUDIOSET = { mean: -4.2677393, std: 4.5689974 } as const;

/** Leaves values unchanged; `std` is halved because normalisation doubles it. */
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
 * Reads a `preprocessor_config.json` of Hugging Face's `ASTFeatureExtractor`; missing keys get its defaults.
 *
 * @param where the file's name in errors
 * @throws unsupported_architecture for an unsupported value, naming its key
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
