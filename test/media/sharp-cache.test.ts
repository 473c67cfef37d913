import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import sharp from "sharp";
import { load } from "../../src/index.js";
import { buildAllSensesModel } from "../support/all-modalities-model.js";

test("libvips has no cache after a loaded model has used media of every kind", async () => {
  const model = await load(await buildAllSensesModel(), { threads: 1, checksums: false });
  for (const name of ["photo-64x48.png", "tone.wav", "h264.mp4", "colours.gif", "photo-64x48.png"]) {
    await model.caption(readFileSync(`test/fixtures/media/${name}`), { maxNewTokens: 2 });
  }
  // Whichever thread loads sharp enables the cache of the whole process; transformers.js loads it for audio.
  const { memory, items, files } = sharp.cache();
  assert.deepEqual([memory.max, items.max, files.max], [0, 0, 0]);
  assert.equal(items.current, 0);
  await model.close();
});
