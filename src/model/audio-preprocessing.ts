import { z } from "zod";
import { EpalmError } from "../errors.js";

/** Samples per second of what encoders hear. */
export const SAMPLE_RATE = 16_000;

/** AudioSet's ten seconds are 1024 frames; encoders of longer sounds are not known. */
const MAX_FRAMES = 8192;
const MAX_MEL_BINS = 512;

/** How a sound becomes an encoder's input, [frames, melBins]; stored in the manifest of a model folder. */
export const audioPreprocessingSchema = z.strictObject({
  /** Of 25 ms, one every 10 ms; a longer sound is cut, a shorter one filled up. */
  frames: z.int().min(1).max(MAX_FRAMES),
  melBins: z.int().min(1).max(MAX_MEL_BINS),
  /** Of log-mel values; an encoder gets `(value - mean) / (2 * std)`. */
  mean: z.number(),
  std: z.number().positive(),
});

export type AudioPreprocessing = z.infer<typeof audioPreprocessingSchema>;

/** AST as published, for AudioSet: ten seconds, and AudioSet's mean and standard deviation. */
export const publishedAudioPreprocessing: AudioPreprocessing = {
  frames: 1024,
  melBins: 128,
  mean: -4.2677393,
  std: 4.5689974,
};

const extractorConfig = z.object({
  feature_extractor_type: z.literal("ASTFeatureExtractor"),
  feature_size: z.literal(1).optional(),
  sampling_rate: z.literal(SAMPLE_RATE).default(SAMPLE_RATE),
  padding_value: z.literal(0).optional(),
  num_mel_bins: z.int().default(publishedAudioPreprocessing.melBins),
  max_length: z.int().default(publishedAudioPreprocessing.frames),
  do_normalize: z.boolean().default(true),
  mean: z.number().default(publishedAudioPreprocessing.mean),
  std: z.number().default(publishedAudioPreprocessing.std),
});

/**
 * The settings in a `preprocessor_config.json` of Hugging Face's `ASTFeatureExtractor` (its defaults are those of
 * transformers 5.18). `where` names the file in errors: `unsupported_architecture` for a value that cannot be
 * followed, by key.
 */
export function parseAudioPreprocessorConfig(json: unknown, where: string): AudioPreprocessing {
  const config = parse(extractorConfig, json, where);
  // Without normalisation: (value - 0) / (2 * 0.5).
  const { mean, std } = config.do_normalize ? config : { mean: 0, std: 0.5 };
  return parse(
    audioPreprocessingSchema,
    { frames: config.max_length, melBins: config.num_mel_bins, mean, std },
    where,
  );
}

function parse<T extends z.ZodType>(schema: T, json: unknown, where: string): z.infer<T> {
  const result = schema.safeParse(json);
  if (result.success) return result.data;

  const causes = result.error.issues.map(({ path, message }) => `'${path.join(".")}': ${message}`);
  throw new EpalmError("unsupported_architecture", `${where}: ${causes.join("; ")}`);
}
