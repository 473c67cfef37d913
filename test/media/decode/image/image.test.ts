import assert from "node:assert/strict";
import { describe, it } from "node:test";
import sharp, { type Sharp } from "sharp";
import { decodeImage, readImageInfo } from "../../../../src/media/decode/image/image.js";
import type { ImagePreprocessing } from "../../../../src/preprocessing/image-preprocessing.js";

const SIDE = 16;

/** Keeps values in 0…255. */
const preprocessing: ImagePreprocessing = {
  size: { height: SIDE, width: SIDE },
  resize: { mode: "squash", height: SIDE, width: SIDE },
  resample: "bicubic",
  rescaleFactor: 1,
  mean: [0, 0, 0],
  std: [1, 1, 1],
};

type Colour = readonly [red: number, green: number, blue: number];
const red: Colour = [220, 30, 20];
const green: Colour = [30, 190, 60];
const blue: Colour = [20, 40, 200];
const yellow: Colour = [230, 210, 40];
const white: Colour = [255, 255, 255];

/** An image of four squares in reading order: red, green, blue, yellow. */
function quarters(): Sharp {
  const colours = [red, green, blue, yellow];
  const data = Uint8Array.from({ length: SIDE * SIDE * 3 }, (_, index) => {
    const [x, y] = [Math.floor(index / 3) % SIDE, Math.floor(index / 3 / SIDE)];
    return colours[(y < SIDE / 2 ? 0 : 2) + (x < SIDE / 2 ? 0 : 1)]?.[index % 3] ?? 0;
  });
  return sharp(data, { raw: { width: SIDE, height: SIDE, channels: 3 } });
}

/** The colours at the centres of the four quarters, in reading order. */
function corners(pixels: Float32Array): Colour[] {
  const at = (x: number, y: number): Colour => {
    const value = (channel: number) => Math.round(pixels[(channel * SIDE + y) * SIDE + x] ?? Number.NaN);
    return [value(0), value(1), value(2)];
  };
  const [near, far] = [SIDE / 4, (SIDE * 3) / 4];
  return [at(near, near), at(far, near), at(near, far), at(far, far)];
}

function assertColours(pixels: Float32Array, expected: readonly Colour[], tolerance: number): void {
  const got = corners(pixels);
  const off = got.flatMap((colour, index) =>
    colour.map((value, c) => Math.abs(value - (expected[index]?.[c] ?? -1e9))),
  );
  assert.ok(Math.max(...off) <= tolerance, `expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`);
}

describe("decodeImage", () => {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="2" height="2">${[red, green, blue, yellow]
    .map((c, i) => `<rect x="${i % 2}" y="${i >> 1}" width="1" height="1" fill="rgb(${c.join()})"/>`)
    .join("")}</svg>`;
  const encoded: readonly [name: string, bytes: () => Promise<Buffer>, tolerance: number][] = [
    ["jpeg", () => quarters().jpeg({ quality: 95 }).toBuffer(), 8],
    ["progressive jpeg", () => quarters().jpeg({ quality: 95, progressive: true }).toBuffer(), 8],
    ["png", () => quarters().png().toBuffer(), 0],
    ["interlaced png", () => quarters().png({ progressive: true }).toBuffer(), 0],
    ["16-bit png", () => quarters().toColourspace("rgb16").png().toBuffer(), 1],
    ["png with a palette", () => quarters().png({ palette: true }).toBuffer(), 4],
    ["webp", () => quarters().webp({ quality: 95 }).toBuffer(), 10],
    ["lossless webp", () => quarters().webp({ lossless: true }).toBuffer(), 0],
    ["gif", () => quarters().gif().toBuffer(), 4],
    ["tiff", () => quarters().tiff({ compression: "lzw" }).toBuffer(), 0],
    ["avif", () => quarters().avif({ quality: 90, effort: 1 }).toBuffer(), 10],
    ["svg", async () => Buffer.from(svg), 0],
  ];
  for (const [name, bytes, tolerance] of encoded) {
    it(`reads ${name}`, async () => {
      assertColours(await decodeImage(await bytes(), preprocessing), [red, green, blue, yellow], tolerance);
    });
  }

  it("converts grey to three equal channels", async () => {
    const grey = await sharp(Buffer.alloc(SIDE * SIDE, 90), {
      raw: { width: SIDE, height: SIDE, channels: 1 },
    })
      .png()
      .toBuffer();
    const expected: Colour = [90, 90, 90];
    assertColours(await decodeImage(grey, preprocessing), [expected, expected, expected, expected], 0);
  });

  it("converts CMYK to sRGB", async () => {
    const cmyk = await quarters().toColourspace("cmyk").jpeg({ quality: 95 }).toBuffer();
    assert.equal((await sharp(cmyk).metadata()).space, "cmyk");
    // CMYK cannot represent all of these colours, so they are only roughly equal.
    assertColours(await decodeImage(cmyk, preprocessing), [red, green, blue, yellow], 70);
  });

  it("converts an embedded colour profile", async () => {
    const p3 = await quarters().withIccProfile("p3").png().toBuffer();
    const ignoring = await sharp(p3, { ignoreIcc: true }).raw().toBuffer();
    assert.notDeepEqual([...ignoring.subarray(0, 3)], red, "the stored values differ");
    assertColours(await decodeImage(p3, preprocessing), [red, green, blue, yellow], 3);
  });

  it("composites transparency over white", async () => {
    const rgba = Buffer.alloc(SIDE * SIDE * 4);
    for (let pixel = 0; pixel < SIDE * SIDE; pixel++) {
      // Left: transparent with hidden black. Right: half-transparent black.
      rgba[pixel * 4 + 3] = pixel % SIDE < SIDE / 2 ? 0 : 128;
    }
    const png = await sharp(rgba, { raw: { width: SIDE, height: SIDE, channels: 4 } })
      .png()
      .toBuffer();
    const half: Colour = [127, 127, 127];
    assertColours(await decodeImage(png, preprocessing), [white, half, white, half], 1);
  });

  it("decodes the first frame of an animation", async () => {
    const frames = [red, blue].flatMap((colour) => Array.from({ length: SIDE * SIDE }, () => colour).flat());
    const raw = { width: SIDE, height: SIDE * 2, channels: 3, pageHeight: SIDE } as const;
    const gif = await sharp(Uint8Array.from(frames), { raw })
      .gif({ delay: [100, 100] })
      .toBuffer();
    assert.equal((await sharp(gif).metadata()).pages, 2);
    assertColours(await decodeImage(gif, preprocessing), [red, red, red, red], 4);
  });

  const orientations: readonly (readonly Colour[])[] = [
    [red, green, blue, yellow],
    [green, red, yellow, blue],
    [yellow, blue, green, red],
    [blue, yellow, red, green],
    [red, blue, green, yellow],
    [blue, red, yellow, green],
    [yellow, green, blue, red],
    [green, yellow, red, blue],
  ];
  for (const [index, expected] of orientations.entries()) {
    it(`applies EXIF orientation ${index + 1}`, async () => {
      const jpeg = await quarters()
        .withMetadata({ orientation: index + 1 })
        .jpeg({ quality: 95 })
        .toBuffer();
      assertColours(await decodeImage(jpeg, preprocessing), expected, 8);
    });
  }

  it("renders SVG at the final size", async () => {
    const edge = '<svg xmlns="http://www.w3.org/2000/svg" width="2" height="2"><rect width="1" height="2"/></svg>';
    const pixels = await decodeImage(Buffer.from(edge), preprocessing);
    assert.deepEqual([...pixels.subarray(6, 10)], [0, 0, 255, 255], "a sharp edge, not an enlarged image of 2 pixels");
  });

  it("normalises each channel", async () => {
    const normalizing = {
      ...preprocessing,
      rescaleFactor: 1 / 255,
      mean: [0.5, 0.4, 0.3],
      std: [0.2, 0.3, 0.4],
    };
    const pixels = await decodeImage(await quarters().png().toBuffer(), normalizing as ImagePreprocessing);
    const expected = [(220 / 255 - 0.5) / 0.2, (30 / 255 - 0.4) / 0.3, (20 / 255 - 0.3) / 0.4];
    for (const [channel, value] of expected.entries()) {
      assert.ok(Math.abs((pixels[channel * SIDE * SIDE] ?? 0) - value) < 1e-6);
    }
  });
});

describe("readImageInfo", () => {
  it("returns the format and the upright size", async () => {
    const jpeg = await quarters().resize(30, 20).withMetadata({ orientation: 6 }).jpeg().toBuffer();
    assert.deepEqual(await readImageInfo(jpeg), { format: "jpeg", height: 30, width: 20 });
  });
});
