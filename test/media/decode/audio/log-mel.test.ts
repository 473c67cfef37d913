import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openSafetensors } from "../../../../src/formats/safetensors.js";
import { logMel, neededSamples, type Waveform } from "../../../../src/media/decode/audio/log-mel.js";
import {
  publishedAudioPreprocessing,
  whisperPreprocessing,
} from "../../../../src/preprocessing/audio-preprocessing.js";

const folder = "test/fixtures/goldens/ast";
const published = publishedAudioPreprocessing({ maxLength: 1024, melBins: 128 });
const golden = openSafetensors(join(folder, "golden.safetensors")).tensors;

function floats(name: string): Float32Array<ArrayBuffer> {
  const data = golden.get(name)?.read();
  assert.ok(data instanceof Float32Array);
  return Float32Array.from(data);
}

const sound = (data: Float32Array): Waveform => ({ data, sampleRate: 16_000 });
const sine = (samples: number) => Float32Array.from({ length: samples }, (_, at) => Math.sin(at * 0.17) / 2);

describe("logMel", () => {
  it("gives the same features as Hugging Face's ASTFeatureExtractor", async () => {
    const expected = floats("input_values");
    const features = await logMel(sound(floats("waveform")), published);
    assert.equal(features.length, 1024 * 128);
    const largest = features.reduce((most, value, at) => Math.max(most, Math.abs(value - (expected[at] ?? 9))), 0);
    assert.ok(largest < 1e-5, `largest difference ${largest}`);
  });

  it("gives the same features for any number of frames", async () => {
    const whole = await logMel(sound(floats("waveform")), published);
    for (const frames of [1, 127, 128, 129, 200]) {
      const part = await logMel(sound(floats("waveform")), { ...published, maxLength: frames });
      assert.deepEqual(part, whole.subarray(0, frames * 128));
    }
  });

  it("uses only the samples of its frames", async () => {
    const needed = neededSamples(published);
    assert.equal(needed, 164_080);
    const longer = await logMel(sound(sine(needed + 5000)), published);
    assert.deepEqual(longer, await logMel(sound(sine(needed)), published));
    assert.notDeepEqual(longer, await logMel(sound(sine(needed - 1)), published));
  });

  it("pads after the last whole frame", async () => {
    const { mean, std } = published;
    const features = await logMel(sound(sine(400 + 160 * 127 + 159)), published);
    const filling = Math.fround((0 - mean) / (2 * std));
    assert.ok(features.subarray(128 * 128).every((value) => Math.abs(value - filling) < 1e-6));
    assert.ok(features.subarray(127 * 128, 128 * 128).some((value) => Math.abs(value - filling) > 1e-3));
  });

  it("accepts silence, because the logarithm has a floor", async () => {
    const features = await logMel(sound(new Float32Array(16_000)), published);
    assert.ok(features.every(Number.isFinite));
  });

  it("rejects audio that is too short, not finite or at another sampling rate", async () => {
    const refused = (waveform: Waveform, code: string, message: RegExp) =>
      assert.rejects(logMel(waveform, published), { code, message });
    await refused(sound(sine(399)), "invalid_media", /at least 400 samples \(25 ms\), got 399/);
    await refused(
      sound(sine(500).fill(Number.NaN, 7, 8)),
      "invalid_media",
      /expected finite samples, got NaN or Infinity/,
    );
    const other = { data: sine(500), sampleRate: 44_100 as 16_000 };
    await refused(other, "invalid_option", /sampleRate: expected 16000, got 44100/);
  });
});

describe("logMel for Whisper", () => {
  const tensors = openSafetensors("test/fixtures/media/whisper-features.safetensors").tensors;
  const waveform = sound(Float32Array.from(tensors.get("waveform")?.read() as Float32Array));
  for (const [what, key, melBins, maxLength] of [
    ["80 bands, padded with silence", "features_80", 80, 100],
    ["128 bands, padded with silence", "features_128", 128, 100],
    ["audio that is cut", "cut", 80, 20],
  ] as const) {
    it(`gives the same features as Hugging Face's WhisperFeatureExtractor: ${what}`, async () => {
      const expected = tensors.get(key)?.read() as Float32Array;
      const features = await logMel(waveform, whisperPreprocessing({ maxLength, melBins }));
      assert.equal(features.length, expected.length);
      const largest = features.reduce((most, value, at) => Math.max(most, Math.abs(value - (expected[at] ?? 9))), 0);
      // The two implementations in transformers, in torch and in numpy, differ by 1.2e-5.
      assert.ok(largest < 2e-5, `largest difference ${largest}`);
    });
  }

  it("joins the pieces in which it is computed without a seam", async () => {
    const short = whisperPreprocessing({ maxLength: 128, melBins: 80 });
    const data = sine(160 * 300).map((value, at) => value * (1 + Math.sin(at * 0.001)));
    const whole = await logMel(sound(data), { ...short, maxLength: 300 });
    // Frames 126 to 254 lie on both sides of the border at 128; the audio begins 2 frames earlier.
    const shifted = await logMel(sound(data.subarray(124 * 160)), { ...short, maxLength: 176 });
    for (let at = 2 * 80; at < 170 * 80; at++) {
      assert.ok(Math.abs((whole[124 * 80 + at] ?? 9) - (shifted[at] ?? 9)) < 1e-5, `element ${at}`);
    }
  });

  it("uses only the samples of its frames", async () => {
    const preprocessing = whisperPreprocessing({ maxLength: 3000, melBins: 80 });
    assert.equal(neededSamples(preprocessing), 480_000);
    const short = { ...preprocessing, maxLength: 20 };
    const longer = await logMel(sound(sine(9000)), short);
    assert.deepEqual(longer, await logMel(sound(sine(3200)), short));
  });
});
