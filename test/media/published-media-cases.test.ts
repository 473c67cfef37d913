import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import sharp, { type Sharp } from "sharp";
import { decodeAudio } from "../../src/media/decode/audio/decode-audio.js";
import { decodeImage, readImageInfo } from "../../src/media/decode/image/image.js";
import { decodeVideo } from "../../src/media/decode/video/decode-video.js";
import { mediaKinds } from "../../src/media/detect/media-kinds.js";
import { type ImagePreprocessing, publishedPreprocessing } from "../../src/preprocessing/image-preprocessing.js";
import { SAMPLING_RATE } from "../../src/preprocessing/sampling-rate.js";
import { makeMedia } from "../support/make-media.js";
import { dominantFrequency } from "./dominant-frequency.js";

/** Media that were once rejected or decoded to wrong values, and others like them. */

const caseFile = (name: string) => readFileSync(join("test/fixtures/cases", name));
const fixture = (name: string) => readFileSync(join("test/fixtures/media", name));

const SIDE = 16;
const plain: ImagePreprocessing = {
  ...publishedPreprocessing(SIDE),
  rescaleFactor: 1,
  mean: [0, 0, 0],
  std: [1, 1, 1],
};

/** The colour in the first quarter of an image. */
async function firstQuarter(bytes: Uint8Array): Promise<number[]> {
  const pixels = await decodeImage(bytes, plain);
  const at = (SIDE / 4) * SIDE + SIDE / 4;
  return [0, 1, 2].map((channel) => pixels[channel * SIDE * SIDE + at] ?? Number.NaN);
}

async function isColour(bytes: Uint8Array, expected: readonly number[], name: string): Promise<void> {
  const got = await firstQuarter(bytes);
  const isNear = expected.every((level, channel) => Math.abs(level - (got[channel] ?? Number.NaN)) <= 2);
  assert.ok(isNear, `${name}: expected ${expected}, got ${got}`);
}

const RED = [220, 30, 20];

describe("images with 16 bits per channel and a colour profile have the right colours", () => {
  for (const name of [
    "colours-8bit-srgb.png",
    "colours-16bit-srgb.png",
    "colours-8bit-p3.avif",
    "colours-10bit-p3.avif",
  ]) {
    it(name, () => isColour(caseFile(name), RED, name));
  }

  const flat = (alpha?: number) => {
    const [r = 0, g = 0, b = 0] = RED;
    const background = { r, g, b, ...(alpha === undefined ? {} : { alpha }) };
    return sharp({ create: { width: 64, height: 64, channels: alpha === undefined ? 3 : 4, background } });
  };
  const encoders = {
    png: (image: Sharp) => image.png(),
    tiff: (image: Sharp) => image.tiff({ compression: "lzw" }),
    "avif of 12 bits": (image: Sharp) => image.heif({ compression: "av1", bitdepth: 12, quality: 95, effort: 0 }),
  };
  for (const [format, encode] of Object.entries(encoders)) {
    it(`${format}, with and without a profile and transparency`, async () => {
      for (const profile of [undefined, "srgb", "p3"]) {
        const wide = (image: Sharp) => {
          const converted = image.toColourspace("rgb16");
          return encode(profile === undefined ? converted : converted.withIccProfile(profile)).toBuffer();
        };
        await isColour(await wide(flat()), RED, `${format}, ${profile}`);
        await isColour(await wide(flat(0.5)), [237, 142, 137], `${format}, ${profile}, half transparent`);
      }
    });
  }

  it("grey of 16 bits, with and without transparency", async () => {
    const grey = await flat().toColourspace("grey16").png().toBuffer();
    await isColour(grey, [112, 112, 112], "grey");
    await isColour(await flat(0.5).toColourspace("grey16").png().toBuffer(), [183, 183, 183], "grey and alpha");
  });
});

describe("a JPEG without its end marker", () => {
  it("is complete if every pixel is present", async () => {
    await isColour(caseFile("jpeg-without-eoi.jpg"), RED, "jpeg-without-eoi.jpg");
    for (const progressive of [false, true]) {
      const whole = await sharp(fixture("photo-64x48.png")).resize(300, 200).jpeg({ progressive }).toBuffer();
      const pixels = await decodeImage(whole, plain);
      for (const missing of [1, 2]) assert.deepEqual(await decodeImage(whole.subarray(0, -missing), plain), pixels);
      for (const missing of [4, 20, 500]) {
        await assert.rejects(decodeImage(whole.subarray(0, -missing), plain), { code: "invalid_media" });
      }
    }
  });
});

describe("formats of phones and desktops", () => {
  it("decodes BMP of all depths with ffmpeg", async () => {
    for (const depth of ["bgr24", "bgra", "pal8", "rgb565le"]) {
      const source = ["-f", "lavfi", "-i", "color=c=0xdc1e14:s=64x48:d=0.04:r=25", "-frames:v", "1"];
      const bmp = makeMedia("flat.bmp", ...source, "-pix_fmt", depth);
      const pixels = await firstQuarter(bmp);
      // Palettes and 16 bits per pixel have few reds.
      assert.ok(Math.abs((pixels[0] ?? 0) - 220) < 12 && (pixels[1] ?? 99) < 45, `${depth}: ${pixels}`);
      assert.deepEqual(await readImageInfo(bmp), { format: "bmp", height: 48, width: 64 });
      await assert.rejects(decodeImage(bmp.subarray(0, bmp.length / 2), plain), { code: "invalid_media" });
    }
  });

  it("decodes HEIC with the optional package heic-decode", () => isColour(fixture("colours.heic"), RED, "HEIC"));

  it("rejects JPEG XL and other formats by name", async () => {
    const named = { "JPEG XL": "ff0a00", "JPEG 2000": "0000000c6a5020200d0a", PDF: "255044462d" };
    for (const [name, start] of Object.entries(named)) {
      const bytes = Buffer.from(start.padEnd(200, "0"), "hex");
      const expected = { code: "unsupported_media", message: new RegExp(`got ${name}$`) };
      await assert.rejects(decodeImage(bytes, plain), expected);
    }
  });
});

/** A WAV of 16-bit samples in which channel c has a tone of its own. */
function wav(channels: number, rate = 16_000): { bytes: Buffer; mean: Float64Array } {
  const count = rate / 5;
  const data = Buffer.alloc(count * channels * 2);
  const mean = new Float64Array(count);
  for (let at = 0; at < count; at++) {
    for (let channel = 0; channel < channels; channel++) {
      const level = Math.round(20_000 * Math.sin((2 * Math.PI * (200 + 100 * channel) * at) / rate));
      data.writeInt16LE(level, (at * channels + channel) * 2);
      mean[at] = (mean[at] ?? 0) + level / 32_768 / channels;
    }
  }
  const header = Buffer.alloc(44);
  header.write("RIFF....WAVEfmt ", "latin1");
  header.writeUInt32LE(36 + data.length, 4);
  for (const [value, place, bytes] of [
    [16, 16, 4],
    [1, 20, 2],
    [channels, 22, 2],
    [rate, 24, 4],
    [rate * channels * 2, 28, 4],
    [channels * 2, 32, 2],
    [16, 34, 2],
  ] as const) {
    header.writeUIntLE(value, place, bytes);
  }
  header.write("data", 36, "latin1");
  header.writeUInt32LE(data.length, 40);
  return { bytes: Buffer.concat([header, data]), mean };
}

describe("audio of any number of channels becomes the mean of its channels", () => {
  it("channels-08.wav and channels-09.wav", async () => {
    const [eight, nine] = await Promise.all([8, 9].map((count) => decodeAudio(caseFile(`channels-0${count}.wav`))));
    assert.equal(nine?.data.length, eight?.data.length);
    assert.ok((nine?.data.length ?? 0) > 0);
  });

  for (const channels of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 24, 33, 48, 64]) {
    it(`${channels} channels`, async () => {
      const { bytes, mean } = wav(channels);
      const { data } = await decodeAudio(bytes);
      assert.equal(data.length, mean.length);
      assert.ok(data.every((sample, at) => Math.abs(sample - (mean[at] ?? 9)) < 1e-6));
    });
  }
});

describe("audio behind tags and other bytes", () => {
  const id3 = (length: number) => {
    const size = [21, 14, 7, 0].map((shift) => (length >> shift) & 127);
    return Buffer.concat([Buffer.from("ID3\x03\0\0", "latin1"), Buffer.from(size), Buffer.alloc(length)]);
  };
  const ape = (length: number) => {
    const header = Buffer.alloc(32 + length);
    header.write("APETAGEX", "latin1");
    header.writeUInt32LE(2000, 8);
    header.writeUInt32LE(length, 12);
    return header;
  };
  const noise = (length: number) => Buffer.from(Array.from({ length }, (_, at) => (at * 7919 + 13 * at * at) % 251));
  const before: Readonly<Record<string, Buffer>> = {
    "1 zero": Buffer.alloc(1),
    "5000 zeros": Buffer.alloc(5000),
    "an ID3 tag of 100 kB": id3(100_000),
    "an ID3 tag of 200 kB and padding": Buffer.concat([id3(200_000), Buffer.alloc(300)]),
    "an APE tag": ape(1000),
    "an APE tag of 100 kB": ape(100_000),
    "an ID3 tag and an APE tag": Buffer.concat([id3(70_000), ape(500)]),
  };
  const made = ["tone.aac", "tone.mp2", "tone.ts", "tone.mpg"].map((name) => {
    const codec = /mp2|mpg/.test(name) ? "mp2" : "aac";
    const source = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=1", "-c:a", codec];
    return [name, makeMedia(name, ...source)] as const;
  });
  const streams = [["tone.mp3", fixture("tone.mp3")], ...made, ["tone.flac", fixture("tone.flac")]] as const;

  const isTone = async (bytes: Uint8Array, name: string) => {
    assert.deepEqual(await mediaKinds(bytes), ["audio"], name);
    const { data } = await decodeAudio(bytes);
    assert.ok(data.length > 8000, `${name}: ${data.length} samples`);
    assert.ok(
      Math.abs(dominantFrequency(data, SAMPLING_RATE) - 440) < 5,
      `${name}: ${dominantFrequency(data, SAMPLING_RATE)} Hz`,
    );
  };

  for (const [stream, bytes] of streams) {
    it(`${stream} behind ${Object.keys(before).join(", ")}`, async () => {
      for (const [name, start] of Object.entries(before)) await isTone(Buffer.concat([start, bytes]), name);
    });
    if (stream === "tone.flac") continue;
    it(`${stream} behind other bytes, and from its middle`, async () => {
      for (const length of [3, 700, 50_000]) await isTone(Buffer.concat([noise(length), bytes]), `${length} bytes`);
      for (const start of [1, 57, 100]) await isTone(bytes.subarray(start), `from ${start}`);
    });
  }

  for (const name of ["mp3-one-zero-first.mp3", "mp3-512-zeros-first.mp3", "id3-60k-then.flac", "id3-70k-then.flac"]) {
    it(name, async () => {
      assert.deepEqual(await mediaKinds(caseFile(name)), ["audio"]);
      const { data } = await decodeAudio(caseFile(name));
      assert.ok(data.some((sample) => Math.abs(sample) > 0.05));
      // The same from a file, of which only the start is read to detect its format.
      assert.deepEqual((await decodeAudio(join("test/fixtures/cases", name))).data, data);
    });
  }

  it("does not take other bytes for audio", async () => {
    for (const bytes of [noise(60_000), Buffer.from("<html>".repeat(9000)), fixture("colours.heic")]) {
      await assert.rejects(decodeAudio(bytes), { code: "unsupported_media" });
    }
  });
});

describe("codecs that are not supported", () => {
  const video = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=5:d=1"];
  const sound = ["-f", "lavfi", "-i", "sine=duration=1"];
  for (const [codec, name, ...source] of [
    ["cinepak", "clip.avi", ...video, "-c:v", "cinepak"],
    ["zmbv", "clip.avi", ...video, "-c:v", "zmbv"],
  ] as const) {
    it(`are named: ${codec}`, async () => {
      await assert.rejects(decodeVideo(makeMedia(name, ...source), { frames: 1, preprocessing: plain }), {
        code: "unsupported_media",
        message: `media: expected a common video codec, got ${codec}`,
      });
    });
  }
  it("are named: adpcm_yamaha", () =>
    assert.rejects(decodeAudio(makeMedia("sound.wav", ...sound, "-c:a", "adpcm_yamaha")), {
      code: "unsupported_media",
      message: "media: expected a common audio codec, got adpcm_yamaha",
    }));
});
