import { z } from "zod";
import { parse } from "../core/schema.js";
import { SAMPLING_RATE } from "./sampling-rate.js";

/** Public models have at most 128 bins and 1024 frames (10 seconds); a value above a bound indicates a damaged file. */
const MAX_MEL_BINS = 1024;
const MAX_FRAMES = 65_536;

const size = {
  /** In Hz. */
  samplingRate: z.literal(SAMPLING_RATE),
  melBins: z.int().min(1).max(MAX_MEL_BINS),
  /** Number of frames (windows in time). */
  maxLength: z.int().min(1).max(MAX_FRAMES),
};

/** Values are normalised to `(value - mean) / (2 * std)`, as published for AST. */
const kaldiSchema = z.strictObject({
  features: z.literal("kaldi").optional(),
  ...size,
  mean: z.number(),
  std: z.number().positive(),
});

/** Values are compared with the loudest one of the medium, as published for Whisper. */
const whisperSchema = z.strictObject({ features: z.literal("whisper"), ...size });

/**
 * How audio is converted to an encoder's input; stored in the manifest of a model folder. The input consists of log-mel
 * energies of one channel, from windows of 25 ms every 10 ms, computed as in Kaldi (default) or as in Whisper. Longer
 * audio is cut, and shorter audio is padded with zeros.
 */
export const audioPreprocessingSchema = z.discriminatedUnion("features", [kaldiSchema, whisperSchema]);

export type AudioPreprocessing = z.infer<typeof audioPreprocessingSchema>;
export type KaldiPreprocessing = z.infer<typeof kaldiSchema>;
export type WhisperPreprocessing = z.infer<typeof whisperSchema>;

/** The input size of an audio encoder: frames, and mel bins per frame. */
export type SpectrogramSize = Pick<AudioPreprocessing, "maxLength" | "melBins">;

/** Statistics of AudioSet's log-mel energies, as published with AST. */
const AUDIOSET = { mean: -4.2677393, std: 4.5689974 } as const;

/** Leaves values unchanged; `std` is halved because normalisation doubles it. */
const UNCHANGED = { mean: 0, std: 0.5 } as const;

export function publishedAudioPreprocessing({ maxLength, melBins }: SpectrogramSize): KaldiPreprocessing {
  return { samplingRate: SAMPLING_RATE, melBins, maxLength, ...AUDIOSET };
}

export function whisperPreprocessing({ maxLength, melBins }: SpectrogramSize): WhisperPreprocessing {
  return { features: "whisper", samplingRate: SAMPLING_RATE, melBins, maxLength };
}

const extractorConfig = z.object({
  feature_extractor_type: z.literal("ASTFeatureExtractor").default("ASTFeatureExtractor"),
  feature_size: z.literal(1).default(1),
  sampling_rate: size.samplingRate.default(SAMPLING_RATE),
  num_mel_bins: size.melBins.default(128),
  max_length: size.maxLength.default(1024),
  do_normalize: z.boolean().default(true),
  mean: kaldiSchema.shape.mean.default(AUDIOSET.mean),
  std: kaldiSchema.shape.std.default(AUDIOSET.std),
});

/**
 * Reads a `preprocessor_config.json` of Hugging Face's `ASTFeatureExtractor`; missing keys get its defaults.
 *
 * @param where the file's name in errors
 * @throws unsupported_architecture for an unsupported value, naming its key
 */
export function parseFeatureExtractorConfig(json: unknown, where: string): KaldiPreprocessing {
  const config = parse(extractorConfig, json, where, "unsupported_architecture");
  return {
    samplingRate: config.sampling_rate,
    melBins: config.num_mel_bins,
    maxLength: config.max_length,
    ...(config.do_normalize ? { mean: config.mean, std: config.std } : UNCHANGED),
  };
}

/** Samples between two frames. */
const HOP = 160;

const whisperExtractorConfig = z.object({
  feature_extractor_type: z.literal("WhisperFeatureExtractor").default("WhisperFeatureExtractor"),
  feature_size: size.melBins.default(80),
  sampling_rate: size.samplingRate.default(SAMPLING_RATE),
  hop_length: z.literal(HOP).default(HOP),
  n_fft: z.literal(400).default(400),
  /** In seconds. */
  chunk_length: z.int().min(1).default(30),
  padding_value: z.literal(0).default(0),
  dither: z.literal(0).default(0),
  do_normalize: z.literal(false).default(false),
});

/**
 * Reads a `preprocessor_config.json` of Hugging Face's `WhisperFeatureExtractor`; missing keys get its defaults.
 *
 * @param where the file's name in errors
 * @throws unsupported_architecture for an unsupported value, naming its key
 */
export function parseWhisperConfig(json: unknown, where: string): WhisperPreprocessing {
  const config = parse(whisperExtractorConfig, json, where, "unsupported_architecture");
  const samples = config.chunk_length * config.sampling_rate;
  return whisperPreprocessing({ maxLength: Math.floor(samples / config.hop_length), melBins: config.feature_size });
}
