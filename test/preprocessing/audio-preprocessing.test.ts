import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  audioPreprocessingSchema,
  parseFeatureExtractorConfig,
  publishedAudioPreprocessing,
} from "../../src/preprocessing/audio-preprocessing.js";

const published = { samplingRate: 16_000, melBins: 128, maxLength: 1024, mean: -4.2677393, std: 4.5689974 };

describe("parseFeatureExtractorConfig", () => {
  const cases: readonly (readonly [what: string, config: object, expected: object])[] = [
    [
      "the published config",
      { feature_extractor_type: "ASTFeatureExtractor", max_length: 1024, num_mel_bins: 128 },
      published,
    ],
    ["an empty file as the published config", {}, published],
    [
      "custom sizes and scales",
      {
        num_mel_bins: 64,
        max_length: 128,
        mean: -6.8,
        std: 5.5,
        padding_value: 0,
        return_attention_mask: false,
      },
      { samplingRate: 16_000, melBins: 64, maxLength: 128, mean: -6.8, std: 5.5 },
    ],
    // (value - 0) / (2 * 0.5)
    ["values without normalisation", { do_normalize: false }, { ...published, mean: 0, std: 0.5 }],
  ];
  for (const [what, config, expected] of cases) {
    it(`reads ${what}`, () => assert.deepEqual(parseFeatureExtractorConfig(config, "config"), expected));
  }

  const refused: readonly (readonly [config: unknown, message: RegExp])[] = [
    [{ feature_extractor_type: "WhisperFeatureExtractor" }, /folder\/x\.json: 'feature_extractor_type'/],
    [{ sampling_rate: 44_100 }, /'sampling_rate'/],
    [{ feature_size: 2 }, /'feature_size'/],
    [{ max_length: 1e9 }, /'max_length'/],
    [{ num_mel_bins: 0 }, /'num_mel_bins'/],
    [{ std: 0 }, /'std'/],
    [{ mean: "low" }, /'mean'/],
    [null, /folder\/x\.json/],
  ];
  for (const [config, message] of refused) {
    it(`rejects ${JSON.stringify(config)}`, () => {
      const expected = { code: "unsupported_architecture", message };
      assert.throws(() => parseFeatureExtractorConfig(config, "folder/x.json"), expected);
    });
  }
});

describe("publishedAudioPreprocessing", () => {
  it("has AudioSet's mean and std, and is valid in a manifest", () => {
    const made = publishedAudioPreprocessing({ maxLength: 1024, melBins: 128 });
    assert.deepEqual(made, published);
    assert.deepEqual(audioPreprocessingSchema.parse(made), made);
  });
});
