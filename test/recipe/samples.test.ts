import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import sharp from "sharp";
import { drawSamples } from "../../models/recipe/samples.js";

const folder = mkdtempSync(join(tmpdir(), "epalm-samples-"));
after(() => rmSync(folder, { recursive: true, force: true }));

test("samples are pictures of the concepts that they name", async () => {
  await drawSamples(folder);
  const names = readdirSync(folder);
  assert.ok(names.includes("red-apple.jpg") && names.length >= 4, String(names));
  for (const name of names) {
    const { format, width, height } = await sharp(join(folder, name)).metadata();
    assert.deepEqual([format, width, height], ["jpeg", 320, 320]);
  }
  // The apple is in the middle of a blue ground.
  const { data, info } = await sharp(join(folder, "red-apple.jpg"))
    .raw()
    .toBuffer({ resolveWithObject: true });
  const at = (x: number, y: number) => Array.from(data.subarray((y * info.width + x) * 3).subarray(0, 3));
  const [red = 0, , blue = 0] = at(160, 175);
  const [groundRed = 0, , groundBlue = 0] = at(8, 8);
  assert.ok(red > blue && groundBlue > groundRed, `${at(160, 175)}; ${at(8, 8)}`);
});
