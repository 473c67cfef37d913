import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openCheckpoint } from "../../src/formats/open-checkpoint.js";
import { openSafetensors, writeSafetensors } from "../../src/formats/safetensors.js";
import { assertSameTensors, refusal } from "../support/same-tensors.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const fixtures = "test/fixtures/checkpoints";
const golden = "test/fixtures/goldens/opt-shared-1token/decoder";
const folder = temporaryFolder();

function subfolder(name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  return path;
}

/** Writes the golden decoder in two shards and returns the path of the index. */
function shardedGolden(target: string): string {
  const whole = openSafetensors(join(golden, "model.safetensors"));
  const tensors = [...whole.tensors];
  const halves = {
    "model-00001-of-00002.safetensors": tensors.slice(0, 40),
    "b.safetensors": tensors.slice(40),
  };
  const weightMap: Record<string, string> = {};
  for (const [file, half] of Object.entries(halves)) {
    writeSafetensors(join(target, file), half);
    for (const [name] of half) weightMap[name] = file;
  }
  whole.close();
  return writeIndex(target, weightMap);
}

function writeIndex(target: string, weightMap: unknown, name = "model.safetensors.index.json"): string {
  const path = join(target, name);
  writeFileSync(path, JSON.stringify({ metadata: { total_size: 1 }, weight_map: weightMap }));
  return path;
}

describe("openCheckpoint", () => {
  it("detects the format from the content", async () => {
    for (const [name, twin] of [
      ["views.pth", "views.safetensors"],
      ["views.safetensors", "views.safetensors"],
    ] as const) {
      const disguised = join(folder, `${name}.weights`);
      copyFileSync(join(fixtures, name), disguised);
      const checkpoint = await openCheckpoint(disguised);
      const expected = openSafetensors(join(fixtures, twin));
      assertSameTensors(checkpoint, expected);
      checkpoint.close();
      expected.close();
    }
  });

  it("prefers safetensors to a torch file in a folder", async () => {
    const target = subfolder("both");
    copyFileSync(join(fixtures, "views.safetensors"), join(target, "model.safetensors"));
    copyFileSync(join(fixtures, "training-protocol2.pth"), join(target, "pytorch_model.bin"));
    const checkpoint = await openCheckpoint(target);
    assert.ok(checkpoint.tensors.has("transposed"));
    checkpoint.close();
  });

  it("joins the shards of safetensors", async () => {
    const target = subfolder("shards");
    shardedGolden(target);
    const sharded = await openCheckpoint(target);
    const whole = openSafetensors(join(golden, "model.safetensors"));
    assertSameTensors(sharded, whole);
    sharded.close();
    whole.close();
  });

  it("joins the shards of torch files", async () => {
    const target = subfolder("torch-shards");
    for (const name of ["views", "element-types"]) {
      copyFileSync(join(fixtures, `${name}.pth`), join(target, `${name}.bin`));
    }
    writeIndex(target, { tied: "views.bin", scalar: "element-types.bin" }, "pytorch_model.bin.index.json");
    const checkpoint = await openCheckpoint(target);
    assert.deepEqual([...checkpoint.tensors.keys()], ["tied", "scalar"]);
    assert.deepEqual(checkpoint.tensors.get("tied")?.shape, [4, 6]);
    checkpoint.close();
  });

  it("names the files that it looked for in a folder without weights", async () => {
    const target = subfolder("empty");
    await assert.rejects(
      openCheckpoint(target),
      refusal(target, /looked for model\.safetensors, .*index\.json/, "not_found"),
    );
    await assert.rejects(openCheckpoint("/nowhere"), refusal("/nowhere", /no such file or folder/, "not_found"));
  });

  it("rejects a file of unknown format", async () => {
    for (const content of ["", "GIF89a", "a picture, perhaps"]) {
      const path = join(folder, "other.bin");
      writeFileSync(path, content);
      await assert.rejects(openCheckpoint(path), refusal(path, /is neither/));
    }
  });

  const shard = "model-00001-of-00002.safetensors";
  const indices: [string, unknown, RegExp][] = [
    ["names a shard that is missing", { x: "c.safetensors" }, /shard c\.safetensors is missing/],
    ["names a tensor that is not in its shard", { x: shard }, /tensor x is not in its shard model-00001/],
    ["leaves the folder", { x: "../model.safetensors" }, /outside the folder/],
    ["leaves the folder by an absolute name", { x: "/etc/passwd" }, /outside the folder/],
    ["leaves the folder on Windows", { x: "..\\x.bin" }, /outside the folder/],
    ["names no files", { x: 1 }, /weight_map/],
    ["has no weight_map", undefined, /weight_map/],
    [
      "names too many shards",
      Object.fromEntries(Array.from({ length: 600 }, (_, i) => [`t${i}`, `s${i}.bin`])),
      /600 shards/,
    ],
  ];
  for (const [index, [what, weightMap, cause]] of indices.entries()) {
    it(`rejects an index that ${what}`, async () => {
      const target = subfolder(`index-${index}`);
      shardedGolden(target);
      const path = writeIndex(target, weightMap);
      await assert.rejects(openCheckpoint(target), refusal(path, cause));
    });
  }

  it("rejects an index that is not JSON", async () => {
    const path = join(folder, "broken.index.json");
    writeFileSync(path, "{not json");
    await assert.rejects(openCheckpoint(path), refusal(path, /is not JSON/));
  });
});
