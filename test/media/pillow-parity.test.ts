import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { decodeImage } from "../../src/media/decode/image/image.js";
import type { ImagePreprocessing, ImageSize, Resample } from "../../src/preprocessing/image-preprocessing.js";
import { parsePreprocessorConfig } from "../../src/preprocessing/image-preprocessing.js";

const fixtures = "test/fixtures/media";

/** Without normalisation, so that the result can be compared with Pillow's. */
const untouched = (size: ImageSize, resample: Resample): ImagePreprocessing => ({
  size,
  resize: { mode: "squash", ...size },
  resample,
  rescaleFactor: 1,
  mean: [0, 0, 0],
  std: [1, 1, 1],
});

/** Converts `[H, W, 3]` bytes to `[3, H, W]` numbers. */
function planes(pixels: Uint8Array): number[] {
  return [0, 1, 2].flatMap((channel) => [...pixels].filter((_, index) => index % 3 === channel));
}

function differences(got: ArrayLike<number>, expected: ArrayLike<number>) {
  assert.equal(got.length, expected.length);
  const all = Array.from(got, (value, index) => Math.abs(value - (expected[index] ?? Number.NaN)));
  return { max: Math.max(...all), mean: all.reduce((sum, value) => sum + value, 0) / all.length };
}

describe("decodeImage compared with Pillow", () => {
  const sizes = [
    { width: 32, height: 32 },
    { width: 70, height: 90 },
  ];
  for (const resample of ["nearest", "bilinear", "bicubic", "lanczos"] as const) {
    for (const size of sizes) {
      it(`is equal for ${resample} from 64 x 48 to ${size.width} x ${size.height}`, async () => {
        const got = await decodeImage(`${fixtures}/photo-64x48.png`, untouched(size, resample));
        const file = `${fixtures}/photo-64x48.${resample}-${size.width}x${size.height}.rgb`;
        assert.deepEqual([...got], planes(readFileSync(file)));
      });
    }
  }

  it("differs by at most 2/255 if libvips reduces a large JPEG first", async () => {
    const preprocessing = untouched({ width: 48, height: 48 }, "bicubic");
    const got = await decodeImage(`${fixtures}/photo-640x480.jpg`, preprocessing);
    const expected = planes(readFileSync(`${fixtures}/photo-640x480.bicubic-48x48.rgb`));
    const { max, mean } = differences(got, expected);
    assert.ok(max <= 2 && mean < 0.5, `max ${max}, mean ${mean}`);
  });

  const imagenet = { image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] };
  const processors: readonly (readonly [what: string, config: object, file: string, largest: number])[] = [
    [
      "by the shorter side, crops and normalises like CLIPImageProcessor",
      { image_processor_type: "CLIPImageProcessor", size: { shortest_edge: 41 }, crop_size: 32 },
      "clip-41-32",
      1e-6,
    ],
    [
      "by the shorter side, crops and normalises like DINOv2's BitImageProcessor",
      {
        image_processor_type: "BitImageProcessor",
        size: { shortest_edge: 41 },
        crop_size: { height: 32, width: 32 },
        resample: 3,
        ...imagenet,
      },
      "dinov2-41-32",
      1e-6,
    ],
    [
      "without rounding like DINOv3ViTImageProcessor",
      { image_processor_type: "DINOv3ViTImageProcessorFast", size: { height: 56, width: 40 } },
      "dinov3-40x56",
      1e-5,
    ],
    ...(
      [
        ["bicubic", undefined],
        ["bilinear", 2],
      ] as const
    ).map(
      ([filter, resample]) =>
        [
          `to a square and normalises like SiglipImageProcessor, ${filter}`,
          { image_processor_type: "SiglipImageProcessor", size: { height: 28, width: 28 }, resample },
          `siglip-${filter}-28`,
          1e-6,
        ] as const,
    ),
  ];
  for (const [what, config, file, largest] of processors) {
    it(`resizes ${what}`, async () => {
      const got = await decodeImage(`${fixtures}/photo-64x48.png`, parsePreprocessorConfig(config, "config"));
      const bytes = readFileSync(`${fixtures}/photo-64x48.${file}.f32`);
      const expected = Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(index * 4));
      const { max } = differences(got, expected);
      assert.ok(max < largest, `max ${max}`);
    });
  }
});
