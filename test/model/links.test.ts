import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { load, openModelFolder } from "../../src/index.js";
import { ADAPTER_FILE, buildTinyModel, temporaryFolder } from "../support/tiny-model.js";

const outside = temporaryFolder();
let built: string;
before(async () => {
  built = await buildTinyModel();
});

function copy(): string {
  const folder = join(mkdtempSync(join(outside, "copy-")), "model");
  cpSync(built, folder, { recursive: true });
  return folder;
}

/** Moves a part of the folder to `target` and puts a link in its place. */
function replaceByLink(folder: string, name: string, target: string): void {
  renameSync(join(folder, name), target);
  symlinkSync(target, join(folder, name));
}

describe("a model folder with symbolic links", () => {
  const parts = ["adapters", "adapters/words.safetensors", "epalm.json", "decoder"];
  for (const part of parts) {
    it(`is rejected if a link leads out of it, whose name is in the error: ${part}`, async () => {
      const folder = copy();
      replaceByLink(folder, part, join(mkdtempSync(join(outside, "target-")), "target"));
      const message = `${join(folder, part)}: is a link to a file outside the model folder`;
      for (const checksums of [true, false]) {
        await assert.rejects(openModelFolder(folder, { checksums }), { code: "invalid_model", message });
      }
    });
  }

  it("is rejected if an unused file is such a link, even in several steps", async () => {
    const folder = copy();
    mkdirSync(join(folder, "samples"));
    symlinkSync("/etc/hostname", join(outside, "step"));
    symlinkSync(join(outside, "step"), join(folder, "samples", "a.png"));
    await assert.rejects(openModelFolder(folder), { code: "invalid_model", message: /samples\/a\.png: is a link/ });
  });

  it("is opened if it is behind a link itself, and if its links stay inside", async () => {
    const folder = copy();
    mkdirSync(join(folder, "..data"));
    replaceByLink(folder, "adapters", join(folder, "..data", "adapters"));
    const link = join(outside, "behind");
    symlinkSync(folder, link);
    assert.equal((await openModelFolder(link)).path, link);
  });

  it("rejects an adapter that is added as a link to a file outside, and loads one that is a link inside", async () => {
    const folder = copy();
    const model = await load(folder, { threads: 1 });
    try {
      copyFileSync(ADAPTER_FILE, join(outside, "other.pth"));
      symlinkSync(join(outside, "other.pth"), join(folder, "adapters", "out.pth"));
      copyFileSync(ADAPTER_FILE, join(folder, "held.pth"));
      symlinkSync(join("..", "held.pth"), join(folder, "adapters", "in.pth"));
      symlinkSync("nowhere", join(folder, "adapters", "dangling.pth"));
      const { loaded, refused } = await model.refreshAdapters();
      assert.deepEqual(loaded, ["in"]);
      assert.deepEqual(
        refused.map(({ name }) => name),
        ["out"],
      );
      assert.match(refused[0]?.error.message ?? "", /out\.pth: is a link to a file outside the model folder/);
      // A listed adapter that becomes a link is rejected, too; the previous one stays in use.
      const listed = join(folder, model.manifest.adapters.words?.file ?? "");
      const bytes = readFileSync(listed);
      replaceByLink(folder, model.manifest.adapters.words?.file ?? "", join(outside, "words"));
      assert.deepEqual(readFileSync(listed), bytes);
      const again = await model.refreshAdapters();
      assert.deepEqual(again.refused.map(({ name }) => name).sort(), ["out", "words"]);
      rmSync(listed);
    } finally {
      await model.close();
    }
  });
});
