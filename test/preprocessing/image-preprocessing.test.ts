import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  imagePreprocessingSchema,
  parsePreprocessorConfig,
  parseTimmConfig,
  publishedPreprocessing,
  withInputSize,
} from "../../src/preprocessing/image-preprocessing.js";

const clip = { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] };
const half = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };
const square = (side: number) => ({ height: side, width: side });
const squash = (side: number) => ({ mode: "squash", ...square(side) });
const shortest = (length: number) => ({ mode: "shortest-edge", length });
const common = { resample: "bicubic", rescaleFactor: 1 / 255 };

describe("publishedPreprocessing", () => {
  it("equals eP-ALM's preprocessing", () => {
    const expected = { size: square(224), resize: squash(224), ...common, ...clip };
    assert.deepEqual(publishedPreprocessing(224), expected);
  });

  it("rejects an invalid size", () => {
    assert.throws(() => publishedPreprocessing(0), { code: "invalid_option" });
  });
});

describe("withInputSize", () => {
  const cropped = { ...publishedPreprocessing(224), resize: { mode: "shortest-edge", length: 256 } } as const;

  it("keeps the fraction of the image that is cropped", () => {
    assert.deepEqual(withInputSize(cropped, 518), { ...cropped, size: square(518), resize: shortest(592) });
    assert.deepEqual(withInputSize(publishedPreprocessing(224), 98), publishedPreprocessing(98));
  });

  it("rejects an invalid size", () => {
    assert.throws(() => withInputSize(cropped, 0.5), { code: "invalid_option" });
  });
});

describe("imagePreprocessingSchema", () => {
  const published = publishedPreprocessing(32);
  const wrong: readonly [name: string, value: unknown][] = [
    ["an unknown key", { ...published, sharpen: true }],
    ["a crop larger than the image", { ...published, resize: shortest(31) }],
    ["a division by zero", { ...published, std: [1, 0, 1] }],
    ["a missing channel", { ...published, mean: [0, 0] }],
    ["an unknown filter", { ...published, resample: "box" }],
  ];
  for (const [name, value] of wrong) {
    it(`rejects ${name}`, () => assert.equal(imagePreprocessingSchema.safeParse(value).success, false));
  }
});

describe("parsePreprocessorConfig", () => {
  const image_mean = clip.mean;
  const image_std = clip.std;
  const cases: readonly [name: string, config: object, expected: object][] = [
    [
      "ViT",
      { image_processor_type: "ViTImageProcessor", size: square(32), resample: 3, image_mean, image_std },
      { size: square(32), resize: squash(32), ...common, ...clip },
    ],
    [
      "a bare ViTFeatureExtractor with its defaults",
      { feature_extractor_type: "ViTFeatureExtractor", size: 224 },
      { size: square(224), resize: squash(224), rescaleFactor: 1 / 255, resample: "bilinear", ...half },
    ],
    [
      "DeiT, which crops",
      { image_processor_type: "DeiTImageProcessor", do_center_crop: true, size: 256, crop_size: 224 },
      { size: square(224), resize: squash(256), ...common, ...half },
    ],
    [
      "CLIP with a bare size",
      { image_processor_type: "CLIPImageProcessorFast", size: 336, crop_size: 336 },
      { size: square(336), resize: shortest(336), ...common, ...clip },
    ],
    [
      "Bit (DINOv2)",
      { image_processor_type: "BitImageProcessor", size: { shortest_edge: 256 }, crop_size: square(224) },
      { size: square(224), resize: shortest(256), ...common, ...clip },
    ],
    [
      "DINOv3, which resizes floats",
      { image_processor_type: "DINOv3ViTImageProcessorFast", size: square(224) },
      {
        size: square(224),
        resize: squash(224),
        resample: "bilinear",
        resizedValues: "floats",
        rescaleFactor: 1 / 255,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
      },
    ],
    [
      "values without normalisation",
      { do_rescale: false, do_normalize: false, resample: 0 },
      {
        size: square(224),
        resize: squash(224),
        resample: "nearest",
        rescaleFactor: 1,
        mean: [0, 0, 0],
        std: [1, 1, 1],
      },
    ],
  ];
  for (const [name, config, expected] of cases) {
    it(`reads ${name}`, () => assert.deepEqual(parsePreprocessorConfig(config, "config"), expected));
  }

  const refused: readonly [config: unknown, message: RegExp][] = [
    [
      { image_processor_type: "Pix2StructImageProcessor" },
      /folder\/x\.json: 'image_processor_type': .*ViT.*Pix2Struct/,
    ],
    [{ image_processor_type: "toString" }, /image_processor_type/],
    [{ resample: 4 }, /'resample'/],
    [{ do_resize: false }, /'do_resize'/],
    [{ do_pad: true }, /'do_pad'/],
    [{ size: { longest_edge: 224 } }, /'size'/],
    [{ size: 1e9 }, /'size'/],
    [{ image_mean: [0.5] }, /'image_mean'/],
    [{ do_center_crop: false, size: { shortest_edge: 224 } }, /'do_center_crop'/],
    [
      { image_processor_type: "CLIPImageProcessor", size: 100, crop_size: 224 },
      /expected the resized image to be at least as large as/,
    ],
    [null, /folder\/x\.json/],
  ];
  for (const [config, message] of refused) {
    it(`rejects ${JSON.stringify(config)}`, () => {
      const expected = { code: "unsupported_architecture", message };
      assert.throws(() => parsePreprocessorConfig(config, "folder/x.json"), expected);
    });
  }
});

describe("parseTimmConfig", () => {
  const cfg = {
    input_size: [3, 224, 224],
    interpolation: "bicubic",
    crop_pct: 0.9,
    mean: clip.mean,
    std: clip.std,
  };

  it("crops a larger image", () => {
    const config = { pretrained_cfg: { ...cfg, crop_mode: "center", fixed_input_size: true } };
    const expected = { size: square(224), resize: shortest(248), ...common, ...clip };
    assert.deepEqual(parseTimmConfig(config, "config"), expected);
  });

  it("squashes", () => {
    const expected = { size: square(224), resize: squash(224), ...common, ...clip };
    assert.deepEqual(parseTimmConfig({ ...cfg, crop_pct: 1, crop_mode: "squash" }, "config"), expected);
  });

  it("has timm's defaults", () => {
    const { mean, std, resize } = parseTimmConfig({ input_size: [3, 224, 224] }, "config");
    assert.deepEqual(
      { mean, std, resize },
      { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], resize: shortest(256) },
    );
  });

  for (const wrong of [
    { crop_mode: "border" },
    { interpolation: "random" },
    { input_size: [1, 8, 8] },
    { crop_pct: 0 },
  ]) {
    it(`rejects ${JSON.stringify(wrong)}`, () => {
      const message = new RegExp(`'${Object.keys(wrong)[0]}`);
      const expected = { code: "unsupported_architecture", message };
      assert.throws(() => parseTimmConfig({ pretrained_cfg: { ...cfg, ...wrong } }, "config"), expected);
    });
  }
});
