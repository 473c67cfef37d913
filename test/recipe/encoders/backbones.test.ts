import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { adapterRecipes, recipesIn } from "../../../models/recipe/adapters/adapters.js";
import { buildPart } from "../../../models/recipe/build.js";
import { openModelFolder } from "../../../src/index.js";
import { modalitiesOf } from "../../../src/model/encoders.js";

const work = mkdtempSync(join(tmpdir(), "epalm-work-"));
after(() => rmSync(work, { recursive: true, force: true }));

describe("the backbones of the bundled model", () => {
  const ofPictures = "test/fixtures/goldens/opt-shared-1token";
  cpSync(join(ofPictures, "encoder"), join(work, "encoder"), { recursive: true });
  cpSync(join(ofPictures, "decoder"), join(work, "lm"), { recursive: true });

  const said: string[] = [];
  const options = { work, output: join(work, "bundled"), say: (what: string) => said.push(what) };
  const modalities = async () => modalitiesOf((await openModelFolder(join(work, "model"))).manifest);

  it("are those whose folders exist; adapters of other modalities are reported as left out", async () => {
    await buildPart("model", options);
    assert.deepEqual(await modalities(), ["image"]);
    said.length = 0;
    const names = recipesIn(work, options.say).map(({ name }) => name);
    assert.deepEqual(names, ["caption", "vqa"]);
    assert.equal(said.length, adapterRecipes.length - names.length);
    assert.ok(said.every((line) => line.includes("left out")));
  });

  it("are built again when the encoder of another modality has been added", async () => {
    cpSync("test/fixtures/backbones/timesformer", join(work, "clip-encoder"), { recursive: true });
    await buildPart("model", options);
    assert.deepEqual(await modalities(), ["image", "video"]);
    assert.deepEqual(
      recipesIn(work, options.say).map(({ name }) => name),
      ["caption", "vqa", "caption-video", "vqa-video"],
    );
  });
});
