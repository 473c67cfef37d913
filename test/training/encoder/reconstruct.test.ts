import assert from "node:assert/strict";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import { maeConfigOf } from "../../../src/fedmae/config.js";
import { initialMae } from "../../../src/training/encoder/initial-mae.js";
import { reconstruct } from "../../../src/training/encoder/reconstruct.js";
import { drawPicture, temporaryFolder, tinyConfig } from "../../support/tiny-clients.js";

const folder = temporaryFolder();
/** Pixels between the images of a grid. */
const GAP = 4;
const [SIDE, PATCH] = [32, 8];
const paths = ["a.png", "b.png", "c.png"].map((name) => join(folder, name));

describe("reconstruct", () => {
  const model = { imageSize: SIDE, patchSize: PATCH, width: 16, heads: 2, decoderWidth: 16, decoderHeads: 2 };
  const config = maeConfigOf(tinyConfig({ model, clients: { path: "x", count: 1 } }), 1);
  const tensors = initialMae(config, 3);

  before(async () => {
    for (const [index, path] of paths.entries()) {
      await drawPicture(path, SIDE, (x, y) => [x * 7, y * 7, (x * y + 80 * index) % 256]);
    }
  });

  /** The bytes of the patches in a column of the grid. */
  async function patchesOf(png: Uint8Array, column: number, row: number): Promise<string[]> {
    const patches: string[] = [];
    for (let index = 0; index < (SIDE / PATCH) ** 2; index++) {
      const left = column * (SIDE + GAP) + (index % (SIDE / PATCH)) * PATCH;
      const top = row * (SIDE + GAP) + Math.floor(index / (SIDE / PATCH)) * PATCH;
      const bytes = await sharp(png).extract({ left, top, width: PATCH, height: PATCH }).raw().toBuffer();
      patches.push(bytes.toString("hex"));
    }
    return patches;
  }

  it("draws one row per image: original, visible patches, reconstruction", async () => {
    const { png, loss, meanPatchLoss } = await reconstruct(config, tensors, paths, 0);
    const { width, height, format } = await sharp(png).metadata();
    assert.deepEqual([format, width, height], ["png", 3 * SIDE + 2 * GAP, 3 * SIDE + 2 * GAP]);
    assert.ok(Number.isFinite(loss) && loss > 0);
    assert.ok(Math.abs(meanPatchLoss - 1) < 0.05, `normed patches have a variance of 1: ${meanPatchLoss}`);
    const gray = Buffer.alloc(PATCH * PATCH * 3, 128).toString("hex");
    for (const [row, path] of paths.entries()) {
      const source = (await sharp(path).removeAlpha().raw().toBuffer()).toString("hex");
      const [original, seen, made] = await Promise.all([0, 1, 2].map((column) => patchesOf(png, column, row)));
      const whole = sharp(png).extract({ left: 0, top: row * (SIDE + GAP), width: SIDE, height: SIDE });
      assert.equal((await whole.raw().toBuffer()).toString("hex"), source);
      assert.equal(seen?.filter((patch) => patch !== gray).length, 4);
      seen?.forEach((patch, index) => {
        if (patch !== gray) assert.equal(patch, original?.[index]);
        assert.equal(made?.[index] === original?.[index], patch !== gray);
      });
    }
  });

  it("masks the same patches for the same seed, and others for another seed", async () => {
    const png = async (seed: number) => (await reconstruct(config, tensors, paths, seed)).png;
    assert.deepEqual(await png(5), await png(5));
    assert.notDeepEqual(await png(5), await png(6));
  });

  it("rejects an empty list, and names a missing image", async () => {
    await assert.rejects(reconstruct(config, tensors, [], 0), { code: "invalid_option" });
    const missing = [paths[0] ?? "", join(folder, "none.png")];
    await assert.rejects(reconstruct(config, tensors, missing, 0), {
      code: "not_found",
      message: /none\.png/,
    });
  });
});
