import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import sharp from "sharp";
import { decodeWav } from "../../../models/recipe/data/audio/wav.js";
import { makeSamples } from "../../../models/recipe/data/samples.js";
import { encoderInput } from "../../../src/media/encoder-input.js";
import { SAMPLING_RATE } from "../../../src/preprocessing/audio-preprocessing.js";
import { imagenetPreprocessing } from "../../../src/preprocessing/image-preprocessing.js";
import { lacksEncoder } from "../../support/make-media.js";

const folder = mkdtempSync(join(tmpdir(), "epalm-samples-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const made = (name: string) => join(folder, name);

test("image samples show what their names say", async () => {
  await makeSamples(made("pictures"), ["image"]);
  const names = readdirSync(made("pictures"));
  assert.ok(names.includes("red-apple.jpg") && names.length >= 4, String(names));
  for (const name of names) {
    const { format, width, height } = await sharp(join(made("pictures"), name)).metadata();
    assert.deepEqual([format, width, height], ["jpeg", 320, 320]);
  }
  // The apple is in the middle of a blue background.
  const { data, info } = await sharp(join(made("pictures"), "red-apple.jpg"))
    .raw()
    .toBuffer({ resolveWithObject: true });
  const at = (x: number, y: number) => Array.from(data.subarray((y * info.width + x) * 3).subarray(0, 3));
  const [red = 0, , blue = 0] = at(160, 175);
  const [groundRed = 0, , groundBlue = 0] = at(8, 8);
  assert.ok(red > blue && groundBlue > groundRed, `${at(160, 175)}; ${at(8, 8)}`);
});

test("the sample 'three-fast-beeps' contains three beeps with silence between them", async () => {
  await makeSamples(made("sounds"), ["audio"]);
  const sound = decodeWav(readFileSync(join(made("sounds"), "three-fast-beeps.wav")));
  const part = SAMPLING_RATE / 100;
  const loud = Array.from({ length: Math.floor(sound.length / part) }, (_, index) =>
    sound.subarray(index * part, (index + 1) * part).some((value) => Math.abs(value) > 0.1),
  );
  assert.equal(loud.filter((is, index) => is && !loud[index - 1]).length, 3);
});

test("the sample 'sunflower-grows' shows less and less of its background", {
  skip: lacksEncoder("libx264"),
}, async () => {
  await makeSamples(made("clips"), ["video"]);
  const frames = await encoderInput(join(made("clips"), "sunflower-grows.mp4"), {
    modality: "video",
    preprocessing: { frames: 4, picture: imagenetPreprocessing(112) },
  });
  const size = frames.length / 4;
  const ofGround = Array.from({ length: 4 }, (_, index) => {
    const [first = 0, second = 0, third = 0] = [0, 1, 2].map(
      (channel) => frames[index * size + (channel * size) / 3] as number,
    );
    let count = 0;
    for (let at = 0; at < size / 3; at++) {
      const value = (channel: number) => frames[index * size + (channel * size) / 3 + at] as number;
      const distance = Math.hypot(value(0) - first, value(1) - second, value(2) - third);
      if (distance < 0.5) count++;
    }
    return count;
  });
  assert.deepEqual(
    ofGround,
    ofGround.toSorted((a, b) => b - a),
  );
  assert.ok((ofGround.at(-1) ?? 0) < 0.9 * (ofGround[0] ?? 0), String(ofGround));
});
