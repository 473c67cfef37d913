import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { decodeAudio } from "../../../../src/media/decode/audio/decode-audio.js";
import { type MediaFile, withMediaFile } from "../../../../src/media/decode/ffmpeg/media-file.js";
import { type RunLimits, runFfmpeg } from "../../../../src/media/decode/ffmpeg/run-ffmpeg.js";
import { writeTemporaryFile } from "../../../../src/media/decode/ffmpeg/temporary-file.js";
import { decodeVideo } from "../../../../src/media/decode/video/decode-video.js";
import { publishedPreprocessing } from "../../../../src/preprocessing/image-preprocessing.js";
import { makeMedia, threeColours, tone } from "../../../support/make-media.js";
import { runningFfmpegs } from "../../../support/running-processes.js";
import { until } from "../../../support/tiny-clients.js";

const parent = tmpdir();
const folder = mkdtempSync(join(parent, "epalm-runs-"));
process.env.TMPDIR = folder;
after(() => rmSync(folder, { recursive: true }));

const wav = makeMedia("tone.wav", ...tone);

const unused = (): MediaFile => ({
  where: "media",
  container: { name: "wav", demuxer: "wav", holdsVideo: false, streams: true },
  begun: performance.now(),
  input: async () => ({ piped: wav }),
});

async function count(output: AsyncIterable<Buffer>): Promise<number> {
  let bytes = 0;
  for await (const chunk of output) bytes += chunk.length;
  return bytes;
}

/** Arguments of a run that never ends by itself and ignores the medium. */
const endless = (size = "64x64") => [
  ...["-re", "-f", "lavfi", "-i", `testsrc=s=${size}`],
  ...["-map", "1:v", "-f", "rawvideo", "pipe:1"],
];
const limits: RunLimits = { seconds: 60, residentBytes: 1 << 30 };

describe("runFfmpeg", () => {
  it("ends a run that takes too long", async () => {
    const run = { file: unused(), arguments: endless(), read: count, limits: { ...limits, seconds: 0.3 } };
    await assert.rejects(runFfmpeg(run), { code: "too_large", message: /media: decoding took more than 0\.3 seconds/ });
    assert.deepEqual(runningFfmpegs(), []);
  });

  it("includes the time of earlier runs on the same medium", async () => {
    const file = { ...unused(), begun: performance.now() - 60_000 };
    const run = { file, arguments: endless(), read: count, limits: { ...limits, seconds: 60.1 } };
    await assert.rejects(runFfmpeg(run), { code: "too_large", message: /more than 60\.1 seconds/ });
  });

  it("ends a run that takes too much memory", { skip: process.platform !== "linux" }, async () => {
    const run = { file: unused(), arguments: endless("4000x4000"), read: count };
    await assert.rejects(runFfmpeg({ ...run, limits: { ...limits, residentBytes: 32 << 20 } }), {
      code: "too_large",
      message: /more than 33554432 bytes of memory/,
    });
    assert.deepEqual(runningFfmpegs(), []);
  });

  it("ends a cancelled run, and does not start one that is already cancelled", async () => {
    const waiting = new AbortController();
    const run = runFfmpeg({ file: unused(), arguments: endless(), read: count, signal: waiting.signal });
    await delay(100);
    assert.equal(runningFfmpegs().length, 1);
    waiting.abort();
    await assert.rejects(run, { code: "aborted" });
    assert.deepEqual(runningFfmpegs(), []);
    await assert.rejects(runFfmpeg({ file: unused(), arguments: endless(), read: count, signal: waiting.signal }), {
      code: "aborted",
    });
  });

  it("ends a run whose output is no longer read or whose reader fails", async () => {
    const first = async (output: AsyncIterable<Buffer>) => {
      for await (const chunk of output) return chunk.length;
      return 0;
    };
    const { value } = await runFfmpeg({ file: unused(), arguments: endless(), read: first });
    assert.ok(value > 0);
    assert.deepEqual(runningFfmpegs(), []);
    const failing = () => Promise.reject(new RangeError("full"));
    await assert.rejects(runFfmpeg({ file: unused(), arguments: endless(), read: failing }), RangeError);
    assert.deepEqual(runningFfmpegs(), []);
  });

  it("returns the first error message, on one line and without the path", async () => {
    await withMediaFile(Buffer.from("RIFF\0\0\0\0WAVEnothing"), {}, async (file) => {
      const { value, complaint = "" } = await runFfmpeg({ file, arguments: ["-f", "null", "pipe:1"], read: count });
      assert.equal(value, 0);
      assert.match(complaint, /^\w[ -~]+$/);
      assert.ok(!complaint.includes(folder) && !complaint.includes("0x"), complaint);
    });
  });

  it("runs ffmpeg with an empty environment", { skip: process.platform !== "linux" }, async () => {
    process.env.HF_TOKEN = "secret";
    const waiting = new AbortController();
    const run = runFfmpeg({ file: unused(), arguments: endless(), read: count, signal: waiting.signal });
    await delay(100);
    const [id] = runningFfmpegs();
    assert.equal(readFileSync(`/proc/${id}/environ`, "latin1").includes("secret"), false);
    waiting.abort();
    await assert.rejects(run);
    delete process.env.HF_TOKEN;
  });
});

/** Its index is behind its content, so ffmpeg must seek. */
const seekable = readFileSync("test/fixtures/media/mpeg4.mov");

const pathOf = async (file: MediaFile): Promise<string> => {
  const input = await file.input(false);
  assert.ok("path" in input);
  return input.path;
};

describe("withMediaFile", () => {
  it("writes no file for media that ffmpeg can read from a pipe", async () => {
    await withMediaFile(wav, {}, async ({ input }) => assert.deepEqual(await input(false), { piped: wav }));
    const faststart = makeMedia("fast.mp4", ...threeColours, "-c:v", "mpeg4", "-movflags", "+faststart");
    process.env.TMPDIR = join(folder, "nowhere");
    const options = { frames: 2, preprocessing: publishedPreprocessing(16) };
    for (const clip of [faststart, readFileSync("test/fixtures/media/vp9.webm")]) {
      assert.equal((await decodeVideo(clip, options)).length, 2);
    }
    for (const name of ["tone.wav", "tone.mp3", "tone.flac", "tone.opus.ogg", "tone.webm"]) {
      const { data } = await decodeAudio(readFileSync(join("test/fixtures/media", name)));
      assert.ok(data.length > 8000, name);
    }
    process.env.TMPDIR = folder;
  });

  it("keeps other media in one private file only as long as they are needed", async () => {
    await withMediaFile(seekable, {}, async (file) => {
      const path = await pathOf(file);
      assert.equal(statSync(path).mode & 0o777, 0o600);
      assert.equal(statSync(join(path, "..")).mode & 0o777, 0o700);
      assert.deepEqual(readFileSync(path), seekable);
      assert.equal(await pathOf(file), path);
    });
    assert.deepEqual(readdirSync(folder), []);
    const failing = withMediaFile(seekable, {}, async (file) => {
      await file.input(false);
      throw new RangeError("no");
    });
    await assert.rejects(failing, RangeError);
    assert.deepEqual(readdirSync(folder), []);
  });

  it("counts the bytes of all temporary files against their limit before it writes one", async () => {
    const limits = { maxTemporaryBytes: 2 * seekable.length - 1 };
    const options = { frames: 1, preprocessing: publishedPreprocessing(16) };
    const other = await writeTemporaryFile(seekable, limits.maxTemporaryBytes);
    const message = `media: expected temporary files of at most ${limits.maxTemporaryBytes} bytes in total, ${seekable.length} are in use`;
    await assert.rejects(decodeVideo(seekable, options, limits), { code: "overloaded", message });
    assert.equal(readdirSync(folder).length, 1);
    await other.remove();
    assert.equal((await decodeVideo(seekable, options, limits)).length, 1);
    assert.deepEqual(readdirSync(folder), []);
  });

  it("reports that the temporary file cannot be written, without the path", async () => {
    process.env.TMPDIR = join(folder, "nowhere");
    const options = { frames: 1, preprocessing: publishedPreprocessing(16) };
    await assert.rejects(decodeVideo(seekable, options), {
      code: "overloaded",
      message: "media: this format needs a temporary file, which cannot be written (ENOENT)",
    });
    process.env.TMPDIR = folder;
  });

  it("leaves nothing behind when decoding is cancelled", async () => {
    const video = readFileSync("test/fixtures/media/h264.mp4");
    for (const milliseconds of [0, 5, 20, 40, 80]) {
      const options = { frames: 8, preprocessing: publishedPreprocessing(32) };
      const signal = AbortSignal.timeout(milliseconds);
      const outcome = await decodeVideo(video, { ...options, signal }).catch((error: unknown) => error);
      assert.ok(Array.isArray(outcome) || (outcome as { code?: unknown }).code === "aborted", String(outcome));
      assert.deepEqual([runningFfmpegs(), readdirSync(folder)], [[], []]);
    }
  });

  it("leaves nothing behind when the process exits during a run", async () => {
    const source = join(parent, `epalm-clip-${process.pid}.mov`);
    writeFileSync(source, seekable);
    const module = (name: string) =>
      JSON.stringify(pathToFileURL(resolve(`dist/src/media/decode/ffmpeg/${name}.js`)).href);
    const program = `
      import { readFileSync } from "node:fs";
      const { withMediaFile } = await import(${module("media-file")});
      const { runFfmpeg } = await import(${module("run-ffmpeg")});
      withMediaFile(readFileSync(${JSON.stringify(source)}), {}, (file) => runFfmpeg({
        file,
        arguments: ${JSON.stringify(endless())},
        read: async (output) => {
          for await (const chunk of output) {
            console.log((await file.input(false)).path);
            process.exit(3);
          }
        },
      }));`;
    const ended = promisify(execFile)(process.execPath, ["--input-type=module", "-e", program]);
    const { code, stdout } = await ended.then(
      () => ({ code: 0, stdout: "" }),
      (error: { code: number; stdout: string }) => error,
    );
    assert.equal(code, 3);
    assert.ok(stdout.startsWith(folder), stdout);
    assert.deepEqual(readdirSync(folder), []);
    // It was killed while its parent exited, but nobody waited until it was gone.
    await until(() => runningFfmpegs("testsrc=s=64x64").length === 0);
    rmSync(source);
  });
});
