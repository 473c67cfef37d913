import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import sharp from "sharp";
import { decodeImage } from "../../../../src/media/decode/image/image.js";
import { chooseFrames } from "../../../../src/media/decode/video/choose-frames.js";
import { decodeVideo } from "../../../../src/media/decode/video/decode-video.js";
import { mediaKinds } from "../../../../src/media/detect/media-kinds.js";
import type { MediaInput } from "../../../../src/media/read-media.js";
import { type ImagePreprocessing, publishedPreprocessing } from "../../../../src/preprocessing/image-preprocessing.js";
import {
  lacksEncoder,
  makeMedia,
  NUMBERS,
  numbered,
  numberOf,
  threeColours,
  tone,
} from "../../../support/make-media.js";

/** Without normalisation, so that colours can be compared. */
const plain = (width: number, height: number): ImagePreprocessing => ({
  size: { height, width },
  resize: { mode: "squash", height, width },
  resample: "bicubic",
  rescaleFactor: 1,
  mean: [0, 0, 0],
  std: [1, 1, 1],
});

type Colour = "red" | "lime" | "blue" | "white" | "other";

const colours: Readonly<Record<Exclude<Colour, "other">, readonly number[]>> = {
  red: [255, 0, 0],
  lime: [0, 255, 0],
  blue: [0, 0, 255],
  white: [255, 255, 255],
};

/** The colour at a position of `[3, height, width]`, with a tolerance for compression. */
function colourAt(pixels: Float32Array, place: number): Colour {
  const plane = pixels.length / 3;
  const value = [0, 1, 2].map((channel) => pixels[channel * plane + place] ?? -1);
  const near = (expected: readonly number[]) =>
    expected.every((level, channel) => Math.abs(level - (value[channel] ?? 999)) < 40);
  const found = Object.entries(colours).find(([, expected]) => near(expected))?.[0];
  return (found as Colour | undefined) ?? "other";
}

const middleOf = (width: number, height: number) => Math.floor(height / 2) * width + Math.floor(width / 2);

async function coloursOf(input: MediaInput, frames: number): Promise<string> {
  const decoded = await decodeVideo(input, { frames, preprocessing: plain(24, 18) });
  return decoded.map((pixels) => colourAt(pixels, middleOf(24, 18))).join(" ");
}

/** Numbers of the frames that `decodeVideo` decodes from a video of `numbered`. */
async function numbersOf(bytes: Uint8Array, frames: number): Promise<number[]> {
  const decoded = await decodeVideo(bytes, { frames, preprocessing: plain(32, 32) });
  return decoded.map((pixels) => numberOf(pixels[16 * 32 + 16] ?? 0));
}

const x264 = ["-c:v", "libx264", "-preset", "ultrafast"];
const lossless = [...x264, "-qp", "0", "-bf", "3"];

const formats: readonly (readonly [name: string, encoder: string, ...args: string[]])[] = [
  ["video.mp4", "libx264", "-pix_fmt", "yuv420p"],
  ["front.mp4", "libx264", "-movflags", "+faststart"],
  ["fragments.mp4", "libx264", "-movflags", "+frag_keyframe+empty_moov"],
  ["hevc.mp4", "libx265", "-x265-params", "log-level=error"],
  ["video.mov", "mpeg4"],
  ["frames.mov", "mjpeg"],
  ["vp9.webm", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
  ["vp8.webm", "libvpx", "-deadline", "realtime"],
  ["unknown-length.webm", "libvpx", "-deadline", "realtime", "-live", "1"],
  ["video.mkv", "libx264"],
  ["video.avi", "mpeg4", "-bf", "2"],
  ["video.ts", "libx264"],
  ["video.mpg", "mpeg2video"],
  ["video.flv", "flv"],
  ["video.wmv", "wmv2"],
  ["video.ogv", "libtheora"],
];

describe("decodeVideo", () => {
  it("shows the frame before a pause of QuickTime Animation, whose old decoder is silent", {
    skip: lacksEncoder("qtrle"),
  }, async () => {
    for (const args of [[], ["-g", "1000"]]) {
      const bytes = makeMedia("animation.mov", ...threeColours, "-c:v", "qtrle", ...args);
      assert.equal(await coloursOf(bytes, 3), "red lime blue");
      assert.equal(await coloursOf(bytes, 6), "red red lime lime blue blue");
      assert.equal(await coloursOf(bytes, 9), "red red red lime lime lime blue blue blue");
    }
  });

  for (const [name, encoder, ...args] of formats) {
    it(`decodes the colours of ${name} (${encoder}) in order`, { skip: lacksEncoder(encoder) }, async () => {
      const bytes = makeMedia(name, ...threeColours, "-c:v", encoder, ...args);
      assert.deepEqual(await mediaKinds(bytes), ["video"]);
      assert.equal(await coloursOf(bytes, 6), "red red lime lime blue blue");
    });
  }

  for (const name of ["h264.mp4", "vp9.webm", "mpeg4.mov", "colours.gif", "colours.webp"]) {
    it(`decodes the colours of the stored file ${name} in order`, async () => {
      const path = join("test/fixtures/media", name);
      assert.equal((await mediaKinds(path))[0], "video");
      assert.equal(await coloursOf(path, 6), "red red lime lime blue blue");
      assert.equal(await coloursOf(readFileSync(path), 3), "red lime blue");
    });
  }

  it("decodes an animated GIF written by ffmpeg", async () => {
    const bytes = makeMedia("colours.gif", ...threeColours, "-r", "10");
    assert.deepEqual(await mediaKinds(bytes), ["video", "image"]);
    assert.equal(await coloursOf(bytes, 6), "red red lime lime blue blue");
  });

  it("respects the delays of an animation and composites transparency over white", async () => {
    const page = (background: string) =>
      sharp({ create: { width: 20, height: 10, channels: 4, background } })
        .png()
        .toBuffer();
    const pages = await Promise.all(["red", "lime", "blue", "#0000"].map(page));
    const delay = [4000, 500, 500, 500];
    for (const format of ["gif", "webp"] as const) {
      const joined = sharp(pages, { join: { animated: true } });
      const animation = format === "gif" ? joined.gif({ delay }) : joined.webp({ delay, lossless: true });
      const bytes = await animation.toBuffer();
      assert.equal(await coloursOf(bytes, 3), "red red red");
      assert.equal(await coloursOf(bytes, 5), "red lime blue white white");
    }
  });

  it("decodes exactly the published frames of a short video", { skip: lacksEncoder("libx264") }, async () => {
    const bytes = makeMedia("numbered.mp4", ...numbered(100), ...lossless);
    const frames = Array.from({ length: 100 }, (_, index) => ({ time: index / 25, duration: 1 / 25 }));
    for (const count of [1, 4, 8, 16]) {
      assert.deepEqual(await numbersOf(bytes, count), chooseFrames(frames, count));
    }
  });

  for (const [name, ...args] of [
    ["long.mp4", ...lossless, "-g", "60"],
    ["long.mkv", ...lossless, "-g", "60"],
    ["open-groups.mp4", ...lossless, "-g", "50", "-x264-params", "open-gop=1:bframes=3:b-adapt=0"],
    ["long.ts", ...lossless, "-g", "60"],
    ["long.mov", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-g", "1"],
  ] as const) {
    it(`decodes exactly the right frames of ${name} while skipping most others`, {
      skip: lacksEncoder("libx264"),
    }, async () => {
      const bytes = makeMedia(name, ...numbered(2000), ...args);
      const frames = Array.from({ length: 2000 }, (_, index) => ({ time: index / 25, duration: 1 / 25 }));
      const expected = chooseFrames(frames, 8).map((index) => index % NUMBERS);
      assert.deepEqual(await numbersOf(bytes, 8), expected);
    });
  }

  it("repeats the last frame of a video with too few frames", { skip: lacksEncoder("libx264") }, async () => {
    assert.deepEqual(await numbersOf(makeMedia("one.mp4", ...numbered(1), ...lossless), 4), [0, 0, 0, 0]);
    const three = makeMedia("three.mp4", ...numbered(3), ...lossless);
    assert.deepEqual(await numbersOf(three, 5), [0, 1, 2, 2, 2]);
  });

  it("chooses frames by time if the frame rate varies", { skip: lacksEncoder("libx264") }, async () => {
    // Red for two seconds in two frames, then a second each of lime and blue in 25.
    const slow = `select='if(lt(t\\,1)\\,not(mod(n\\,13))\\,1)',setpts='if(lt(T\\,1)\\,PTS*2\\,PTS+1/TB)'`;
    const bytes = makeMedia("varying.mp4", ...threeColours, "-vf", slow, "-vsync", "vfr", ...x264);
    assert.equal(await coloursOf(bytes, 4), "red red lime blue");
  });

  it("applies the rotation stored by a camera", { skip: lacksEncoder("libx264") }, async () => {
    const halves = "color=c=red:s=64x32:r=5:d=1[a];color=c=blue:s=64x32:r=5:d=1[b];[a][b]hstack";
    const lying = ["-f", "lavfi", "-i", halves, ...x264, "-pix_fmt", "yuv420p"];
    const [unturned = new Float32Array()] = await decodeVideo(makeMedia("lying.mp4", ...lying), {
      frames: 1,
      preprocessing: plain(16, 16),
    });
    assert.deepEqual([colourAt(unturned, 8 * 16 + 2), colourAt(unturned, 8 * 16 + 13)], ["red", "blue"]);
    const bytes = turned(makeMedia("lying.mp4", ...lying));
    const [pixels = new Float32Array()] = await decodeVideo(bytes, {
      frames: 1,
      preprocessing: plain(16, 16),
    });
    assert.deepEqual([colourAt(pixels, 2 * 16 + 8), colourAt(pixels, 13 * 16 + 8)], ["red", "blue"]);
  });

  it("decodes odd sizes", { skip: lacksEncoder("mjpeg") }, async () => {
    for (const size of ["33x17", "3x64", "7x5"]) {
      const args = ["-f", "lavfi", "-i", `color=c=red:s=${size}:r=5:d=1`, "-c:v", "mjpeg", "-pix_fmt", "yuvj444p"];
      assert.equal(await coloursOf(makeMedia("odd.mov", ...args), 2), "red red");
    }
  });

  it("preprocesses a frame like an image", { skip: lacksEncoder("png") }, async () => {
    const png = readFileSync("test/fixtures/media/photo-640x480.jpg");
    const picture = await sharp(png).png().toBuffer();
    const bytes = makeMedia(
      "still.mov",
      "-i",
      "test/fixtures/media/photo-640x480.jpg",
      "-c:v",
      "png",
      "-pix_fmt",
      "rgb24",
    );
    const shortest = {
      ...publishedPreprocessing(32),
      resize: { mode: "shortest-edge", length: 40 },
    } as const;
    for (const preprocessing of [publishedPreprocessing(48), publishedPreprocessing(300), shortest]) {
      const [frame = new Float32Array()] = await decodeVideo(bytes, { frames: 1, preprocessing });
      const expected = await decodeImage(picture, preprocessing);
      const mean = frame.reduce((sum, value, at) => sum + Math.abs(value - (expected[at] ?? 9)), 0) / frame.length;
      // The two JPEG decoders differ by one or two levels.
      assert.ok(mean < 0.02, `mean difference ${mean}`);
    }
  });

  it("decodes the remaining frames of a truncated video", {
    skip: lacksEncoder("libx264"),
  }, async () => {
    const front = makeMedia("cut.mp4", ...numbered(100), ...lossless, "-g", "10", "-movflags", "+faststart");
    const numbers = await numbersOf(front.subarray(0, front.length * 0.6), 4);
    assert.ok((numbers.at(-1) ?? 0) < 75 && (numbers[0] ?? 0) < 20, numbers.join(" "));
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => a - b),
    );
    const back = makeMedia("cut.mp4", ...numbered(100), ...lossless);
    await assert.rejects(numbersOf(back.subarray(0, back.length * 0.6), 4), {
      code: "invalid_media",
      message: "media: cannot be decoded: moov atom not found",
    });
  });

  it("rejects audio without video, even with a cover image", async () => {
    const message = "media: has no video track";
    const plainSound = makeMedia("tone.m4a", ...tone, "-c:a", "aac");
    await assert.rejects(coloursOf(plainSound, 1), { code: "invalid_media", message });
    const cover = ["-i", "test/fixtures/media/photo-640x480.jpg", "-map", "0", "-map", "1", "-c:v", "copy"];
    const args = ["-c:a", "aac", "-disposition:v:0", "attached_pic"];
    const record = makeMedia("record.m4a", ...tone, ...cover, ...args);
    assert.deepEqual(await mediaKinds(record), ["audio"]);
    await assert.rejects(coloursOf(record, 1), { code: "invalid_media", message });
  });

  it("rejects media above its limits", { skip: lacksEncoder("libx264") }, async () => {
    const bytes = makeMedia("video.mp4", ...threeColours, ...x264);
    const options = { frames: 2, preprocessing: plain(8, 8) };
    const refused = (limits: object, message: RegExp) =>
      assert.rejects(decodeVideo(bytes, options, limits), { code: "too_large", message });
    await refused({ maxPixels: 3000 }, /at most 3000 pixels, a frame is 64 x 48/);
    await refused({ maxSeconds: 2 }, /at most 2 seconds, got 3/);
    await refused({ maxBytes: 1000 }, /at most 1000 bytes/);
    for (const frames of [0, 1.5, 97]) {
      await assert.rejects(decodeVideo(bytes, { ...options, frames }), { code: "invalid_option" });
    }
  });

  it("rejects images and text files, listing the supported formats", async () => {
    for (const bytes of [readFileSync("test/fixtures/media/photo-64x48.png"), Buffer.from("hello, world")]) {
      await assert.rejects(coloursOf(bytes, 1), {
        code: "unsupported_media",
        message: /mp4.*got other bytes/,
      });
    }
    assert.deepEqual(await mediaKinds(Buffer.from("hello, world")), []);
    assert.deepEqual(await mediaKinds("test/fixtures/media/photo-64x48.png"), ["image"]);
  });
});

/** An MP4 whose track is rotated by 90 degrees clockwise, by the matrix in `tkhd` (16.16 fixed point). */
function turned(mp4: Buffer): Buffer {
  const copy = Buffer.from(mp4);
  const matrix = copy.indexOf("tkhd") + 4 + 40;
  for (const [index, value] of [0, 1, 0, -1, 0, 0].entries()) {
    copy.writeInt32BE(value * 65536, matrix + index * 4);
  }
  return copy;
}
