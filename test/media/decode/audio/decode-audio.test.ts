import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { decodeAudio } from "../../../../src/media/decode/audio/decode-audio.js";
import type { Waveform } from "../../../../src/media/decode/audio/log-mel.js";
import { mediaKinds } from "../../../../src/media/detect/media-kinds.js";
import { lacksEncoder, makeMedia, threeColours, tone } from "../../../support/make-media.js";
import { dominantFrequency } from "../../dominant-frequency.js";

const folder = mkdtempSync(join(tmpdir(), "epalm-audio-"));
after(() => rmSync(folder, { recursive: true }));

function hasTone({ data, sampleRate }: Waveform, seconds: number, tolerance = 0.1) {
  assert.equal(sampleRate, 16_000);
  const got = data.length / sampleRate;
  assert.ok(Math.abs(got - seconds) <= tolerance, `expected ${seconds} s, got ${got}`);
  assert.equal(dominantFrequency(data.subarray(4000, 12_000), sampleRate), 440);
  const peak = data.subarray(4000, 12_000).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  assert.ok(peak > 0.05 && peak < 0.5, `peak ${peak}`);
}

/** File name, encoder and further arguments of ffmpeg. */
const formats = [
  ["pcm.wav", "pcm_s16le"],
  ["float.wav", "pcm_f32le"],
  ["tone.aiff", "pcm_s16be"],
  ["tone.au", "pcm_s16be"],
  ["tone.caf", "pcm_s16be"],
  ["tone.flac", "flac"],
  ["tone.mp3", "libmp3lame"],
  ["untagged.mp3", "libmp3lame", "-id3v2_version", "0", "-write_xing", "0"],
  ["vorbis.ogg", "libvorbis"],
  ["opus.ogg", "libopus"],
  ["tone.m4a", "aac"],
  ["front.m4a", "aac", "-movflags", "+faststart"],
  ["tone.aac", "aac"],
  ["tone.webm", "libopus"],
  ["tone.mkv", "flac"],
  ["tone.mov", "alac"],
  ["tone.wma", "wmav2"],
] as const;

describe("decodeAudio", () => {
  for (const [name, encoder, ...args] of formats) {
    it(`decodes 440 Hz from ${name} (${encoder}), as bytes and as a file`, {
      skip: lacksEncoder(encoder),
    }, async () => {
      const bytes = makeMedia(name, ...tone, "-c:a", encoder, ...args);
      assert.deepEqual(await mediaKinds(bytes), ["audio"]);
      const heard = await decodeAudio(bytes);
      hasTone(heard, 2);
      const path = join(folder, name);
      writeFileSync(path, bytes);
      assert.deepEqual(await decodeAudio(path), heard);
    });
  }

  for (const name of ["tone.wav", "tone.mp3", "tone.flac", "tone.opus.ogg", "tone.m4a", "tone.webm"]) {
    it(`decodes 440 Hz from the stored file ${name}`, async () => {
      const bytes = readFileSync(join("test/fixtures/media", name));
      assert.deepEqual(await mediaKinds(bytes), ["audio"]);
      hasTone(await decodeAudio(bytes), 1);
    });
  }

  it("decodes the audio track of a video", { skip: lacksEncoder("libx264") }, async () => {
    const bytes = makeMedia("both.mp4", ...threeColours, ...tone, "-c:v", "libx264", "-c:a", "aac", "-t", "2");
    assert.deepEqual(await mediaKinds(bytes), ["video", "audio"]);
    hasTone(await decodeAudio(bytes), 2);
  });

  it("decodes no more than the requested length", async () => {
    const bytes = makeMedia("tone.wav", ...tone);
    assert.equal((await decodeAudio(bytes, { seconds: 0.75 })).data.length, 12_000);
    for (const seconds of [0, -1, Number.NaN, 601]) {
      await assert.rejects(decodeAudio(bytes, { seconds }), { code: "invalid_option", message: /seconds/ });
    }
  });

  it("mixes channels without changing the loudness", async () => {
    const stereo = ["-f", "lavfi", "-i", "aevalsrc=0.8*sin(2*PI*440*t)|0:s=16000:d=1"];
    const { data } = await decodeAudio(makeMedia("left.wav", ...stereo, "-c:a", "pcm_f32le"));
    const peak = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    assert.ok(Math.abs(peak - 0.4) < 0.01, `peak ${peak}`);
  });

  it("decodes the remaining part of a truncated file", async () => {
    const bytes = makeMedia("tone.mp3", ...tone, "-c:a", "libmp3lame");
    hasTone(await decodeAudio(bytes.subarray(0, bytes.length / 2)), 1);
  });

  it("rejects a medium without audio", { skip: lacksEncoder("libx264") }, async () => {
    const silent = makeMedia("silent.mp4", ...threeColours, "-c:v", "libx264");
    await assert.rejects(decodeAudio(silent), { code: "invalid_media", message: "media: has no audio track" });
    const empty = makeMedia("empty.wav", "-f", "lavfi", "-i", "anullsrc", "-t", "0");
    await assert.rejects(decodeAudio(empty), { code: "invalid_media", message: /its audio is empty/ });
  });

  it("rejects files that are too large, missing, empty or not files", async () => {
    const path = join(folder, "some.wav");
    writeFileSync(path, makeMedia("some.wav", ...tone));
    await assert.rejects(decodeAudio(path, {}, { maxBytes: 999 }), {
      code: "too_large",
      message: /some\.wav/,
    });
    await assert.rejects(decodeAudio(new Uint8Array(1000), {}, { maxBytes: 999 }), { code: "too_large" });
    await assert.rejects(decodeAudio(join(folder, "no.wav")), { code: "not_found" });
    await assert.rejects(decodeAudio(folder), { code: "invalid_media" });
    await assert.rejects(decodeAudio(new Uint8Array()), { code: "invalid_media", message: /empty/ });
  });
});
