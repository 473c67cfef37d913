import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { promisify } from "node:util";
import { EpalmError } from "../../../src/core/errors.js";
import { decodeAudio } from "../../../src/media/decode/audio/decode-audio.js";
import type { Waveform } from "../../../src/media/decode/audio/log-mel.js";
import { findFfmpeg } from "../../../src/media/decode/ffmpeg/find-ffmpeg.js";
import { decodeVideo } from "../../../src/media/decode/video/decode-video.js";
import { mediaKinds } from "../../../src/media/detect/media-kinds.js";
import type { MediaInput } from "../../../src/media/read-media.js";
import { publishedPreprocessing } from "../../../src/preprocessing/image-preprocessing.js";
import { dominantFrequency } from "../../media/dominant-frequency.js";
import { countingServer } from "../../support/counting-server.js";
import { aliasTo, type Damage, damaged, enormousMp4, pointers, withBoxContent } from "../../support/hostile-files.js";
import { lacksEncoder, makeMedia, threeColours } from "../../support/make-media.js";
import { runningFfmpegs } from "../../support/running-processes.js";

const made = mkdtempSync(join(tmpdir(), "epalm-hostile-"));
const temporary = mkdtempSync(join(tmpdir(), "epalm-left-"));
process.env.TMPDIR = temporary;
after(() => {
  for (const folder of [made, temporary]) rmSync(folder, { recursive: true });
});

/** A tone of 1000 Hz, which would be decoded if ffmpeg opened this file. */
const canary = join(made, "canary.raw");
const secret = ["-f", "lavfi", "-i", "sine=frequency=1000:sample_rate=16000:duration=2"];
writeFileSync(canary, makeMedia("secret.wav", ...secret).subarray(44));

const { address, visits } = await countingServer();

const frames = 3;
const preprocessing = publishedPreprocessing(16);

/** Asserts that decoding returns valid frames or audio, or fails with an EpalmError of status 4xx. */
async function harmless(name: string, kind: "audio" | "video", input: MediaInput): Promise<Waveform | undefined> {
  const work = kind === "audio" ? decodeAudio(input, { seconds: 5 }) : decodeVideo(input, { frames, preprocessing });
  const outcome = await work.catch((error: unknown) => error);
  if (outcome instanceof EpalmError) {
    assert.ok(outcome.status >= 400 && outcome.status < 500, `${name}: ${outcome.code} ${outcome.message}`);
    assert.match(outcome.message, /^[ -~]{10,600}$/, name);
    assert.ok(!outcome.message.includes(temporary), `${name}: ${outcome.message}`);
    return undefined;
  }
  if (Array.isArray(outcome)) {
    assert.equal(outcome.length, frames, name);
    for (const pixels of outcome) assert.ok(pixels instanceof Float32Array && pixels.length === 3 * 16 * 16, name);
    return undefined;
  }
  const sound = outcome as Waveform;
  assert.ok(sound.data instanceof Float32Array, `${name}: ${String(outcome)}`);
  assert.ok(sound.data.length > 0 && sound.data.length <= 80_000, name);
  return sound;
}

function nothingLeft(): void {
  assert.deepEqual(runningFfmpegs(), []);
  assert.deepEqual(readdirSync(temporary), []);
  assert.deepEqual(visits, []);
}

/** Decodes two files at a time, one per core of a small machine. */
async function eachHarmless(kind: "audio" | "video", files: readonly Damage[]): Promise<void> {
  const rest = [...files];
  const worker = async () => {
    for (let file = rest.pop(); file !== undefined; file = rest.pop()) await harmless(file[0], kind, file[1]);
  };
  await Promise.all([worker(), worker()]);
  nothingLeft();
}

const fixture = (name: string) => readFileSync(join("test/fixtures/media", name));

describe("damaged audio is rejected or decoded as far as possible", () => {
  for (const name of ["tone.wav", "tone.mp3", "tone.flac", "tone.opus.ogg", "tone.m4a", "tone.webm"]) {
    it(name, () => eachHarmless("audio", damaged(fixture(name))));
  }

  it("files that state enormous sizes", () => {
    const wav = Buffer.from(fixture("tone.wav"));
    const wavs = [4, 16, 24, 28, 40].map((place): Damage => {
      const copy = Buffer.from(wav);
      copy.writeUInt32LE(0xff_ff_ff_ff, place);
      return [`wav: ${place}`, copy];
    });
    return eachHarmless("audio", [...enormousMp4(fixture("tone.m4a")), ...wavs]);
  });
});

describe("damaged video is rejected or decoded as far as possible", () => {
  for (const name of ["h264.mp4", "vp9.webm", "mpeg4.mov", "colours.gif", "colours.webp"]) {
    it(name, () => eachHarmless("video", damaged(fixture(name))));
  }

  it("files that state enormous sizes", () => eachHarmless("video", enormousMp4(fixture("h264.mp4"))));

  it("frames larger than the container states", { skip: lacksEncoder("libvpx") }, async () => {
    const webm = makeMedia("vp8.webm", ...threeColours, "-c:v", "libvpx", "-deadline", "realtime", "-g", "1");
    const start = Buffer.from("9d012a", "hex");
    let count = 0;
    for (let place = webm.indexOf(start); place >= 0; place = webm.indexOf(start, place + 1), count++) {
      webm.writeUInt16LE(16_383, place + 3);
      webm.writeUInt16LE(16_383, place + 5);
    }
    assert.ok(count > 10);
    await assert.rejects(decodeVideo(webm, { frames, preprocessing }), { code: "invalid_media" });
    nothingLeft();
  });

  it("animations with enormous frames", async () => {
    const gif = Buffer.from(fixture("colours.gif"));
    gif.writeUInt16LE(65_535, 6);
    gif.writeUInt16LE(65_535, 8);
    const webp = Buffer.from(fixture("colours.webp"));
    webp.fill(255, webp.indexOf("VP8X") + 12, webp.indexOf("VP8X") + 18);
    await eachHarmless("video", [
      ["gif", gif],
      ["webp", webp],
    ]);
    const options = { frames, preprocessing };
    await assert.rejects(decodeVideo(fixture("colours.gif"), options, { maxPixels: 3071 }), {
      code: "too_large",
      message: /at most 3071 pixels, its size is 64 x 48/,
    });
    await assert.rejects(decodeVideo(fixture("colours.webp"), options, { maxSeconds: 2 }), {
      code: "too_large",
    });
  });
});

describe("media that refer to other resources", () => {
  it("are rejected, and the resources are not requested", async () => {
    const files = pointers(canary, address);
    await eachHarmless("audio", files);
    await eachHarmless("video", files);
    for (const [, bytes] of files)
      await mediaKinds(bytes).catch((error: unknown) => assert.ok(error instanceof EpalmError));
    nothingLeft();
  });

  it("are rejected also as files with matching names", async () => {
    const names = [
      "list.m3u8",
      "list.ffconcat",
      "list.mpd",
      "list.sdp",
      "frame%03d.png",
      "frame1.png",
      "-i",
      "list.txt",
    ];
    const texts = pointers(canary, address);
    for (const [index, name] of names.entries()) {
      const path = join(made, name);
      writeFileSync(path, texts[index]?.[1] ?? "");
      assert.equal(await harmless(name, "audio", path), undefined);
      assert.equal(await harmless(name, "video", path), undefined);
    }
    nothingLeft();
  });

  it("are treated as missing files if they are URLs instead of paths", async () => {
    const paths = [
      `${address}/a.mp4`,
      `concat:${canary}`,
      `file:${canary}`,
      "pipe:0",
      "-",
      "fd:0",
      `subfile,,:${canary}`,
    ];
    for (const path of paths) {
      await assert.rejects(decodeAudio(path), { code: "not_found" });
      await assert.rejects(decodeVideo(path, { frames, preprocessing }), { code: "not_found" });
    }
    nothingLeft();
  });

  it("are not followed by a QuickTime track whose content is in another file", async () => {
    const silence = ["-f", "lavfi", "-i", "anullsrc=sample_rate=16000:channel_layout=mono", "-t", "2"];
    const mov = makeMedia("silence.mov", ...silence, "-c:a", "pcm_s16le");
    const path = ["moov", "trak", "mdia", "minf", "dinf", "dref"];
    const pointing = withBoxContent(mov, path, aliasTo(canary));
    // ffmpeg follows the reference if it is allowed to, so the file is constructed correctly.
    const file = join(made, "pointing.mov");
    writeFileSync(file, pointing);
    const { path: ffmpeg } = await findFfmpeg();
    const followed = execFileSync(
      ffmpeg,
      ["-loglevel", "error", "-enable_drefs", "1", "-use_absolute_path", "1", "-i", file, "-f", "f32le", "pipe:1"],
      { stdio: ["ignore", "pipe", "ignore"] },
    );
    const samples = new Float32Array(Uint8Array.from(followed).buffer);
    assert.equal(dominantFrequency(samples.subarray(4000, 12_000), 16_000), 1000);
    for (const input of [pointing, file]) {
      const sound = await harmless("pointing.mov", "audio", input);
      assert.ok(sound === undefined || sound.data.every((sample) => Math.abs(sample) < 1e-3));
    }
    nothingLeft();
  });

  it("would be followed by ffmpeg without restrictions", async () => {
    const list = join(made, "real.m3u8");
    writeFileSync(list, pointers(canary, address).find(([name]) => name === "hls of an address")?.[1] ?? "");
    const { path: ffmpeg } = await findFfmpeg();
    const args = ["-protocol_whitelist", "file,http,tcp", "-i", list, "-f", "null", "-"];
    await promisify(execFile)(ffmpeg, args, { timeout: 20_000 }).catch(() => undefined);
    assert.ok(visits.includes("/a.ts"), "the server records visits, and the playlist causes one");
    visits.length = 0;
    assert.equal(await harmless("real.m3u8", "audio", list), undefined);
    nothingLeft();
  });
});
