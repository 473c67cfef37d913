import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openSafetensors } from "../../src/formats/safetensors.js";
import { openTorchFile } from "../../src/formats/torch-file.js";
import { assertSameTensors, refusal, values } from "../support/same-tensors.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeZip } from "../support/write-zip.js";

const fixtures = "test/fixtures/checkpoints";
const goldens = "test/fixtures/goldens";

describe("torch files", () => {
  const pairs: [string, string][] = [
    [`${fixtures}/element-types.pth`, `${fixtures}/element-types.safetensors`],
    [`${fixtures}/views.pth`, `${fixtures}/views.safetensors`],
    ...[2, 3, 4, 5].map((protocol): [string, string] => [
      `${fixtures}/training-protocol${protocol}.pth`,
      `${fixtures}/training.safetensors`,
    ]),
    ...[
      "llama-shared-1token",
      "opt-6states-mlp10",
      "opt-causal-perception",
      "opt-post-norm-projected",
      "opt-shared-1token",
    ].map((name): [string, string] => [`${goldens}/${name}/adapter.pth`, `${goldens}/${name}/adapter.safetensors`]),
  ];
  for (const [torchPath, safetensorsPath] of pairs) {
    it(`${torchPath} contains the same tensors as the safetensors file`, async () => {
      const torch = await openTorchFile(torchPath);
      const safetensors = openSafetensors(safetensorsPath);
      assertSameTensors(torch, safetensors);
      torch.close();
      safetensors.close();
    });
  }

  it("does not change the names of a published .pyth file", async () => {
    const checkpoint = await openTorchFile(`${goldens}/opt-timesformer/encoder.pyth`);
    assert.equal(checkpoint.tensors.size, 87);
    assert.deepEqual(checkpoint.tensors.get("model.cls_token")?.shape, [1, 1, 32]);
    checkpoint.close();
  });

  it("returns the values beside the tensors", async () => {
    const checkpoint = await openTorchFile(`${fixtures}/training-protocol2.pth`);
    const { root } = checkpoint;
    assert.ok(root instanceof Map);
    assert.equal(root.get("epoch"), 3);
    assert.equal(root.get("device"), "cpu");
    assert.deepEqual(root.get("size"), [2, 3]);
    assert.deepEqual(Object.fromEntries((root.get("args") as Map<string, unknown>).entries()), {
      model: "mae_vit_base_patch16",
      lr: 1.5e-4,
      mask_ratio: 0.75,
      resume: "",
      seed: 2n ** 63n,
    });
    checkpoint.close();
  });

  it("does not modify a prototype for a key named __proto__", async () => {
    const checkpoint = await openTorchFile(`${fixtures}/training-protocol2.pth`);
    assert.ok(checkpoint.root instanceof Map);
    assert.deepEqual(checkpoint.root.get("__proto__"), new Map([["polluted", true]]));
    assert.equal("polluted" in {}, false);
    checkpoint.close();
  });

  it("reads tensors that share one storage", async () => {
    const checkpoint = await openTorchFile(`${fixtures}/views.pth`);
    const tied = values(checkpoint.tensors.get("tied"));
    const offset = values(checkpoint.tensors.get("offset"));
    assert.deepEqual(offset?.data, tied?.data.slice(12));
    checkpoint.close();
  });

  it("reads tensors beside objects of other classes", async () => {
    for (const [name, x] of [
      ["numpy-scalar.pth", 1.5],
      ["counter.pth", new Map([["a", 1]])],
    ] as const) {
      const { tensors, root, close } = await openTorchFile(join(fixtures, name));
      assert.deepEqual(tensors.get("w")?.shape, [6]);
      assert.ok(root instanceof Map);
      const value = root.get("x");
      assert.deepEqual(value instanceof Map ? new Map(value) : value, x);
      close();
    }
  });

  const refused: [string, RegExp][] = [
    ["calls-system.pth", /posix\.system/],
    ["calls-eval.pth", /builtins\.eval/],
    ["whole-module.pth", /an object of torch\.nn\.modules\.linear\.Linear instead of a dict of tensors/],
    ["no-tensors.pth", /no tensors .* found epoch, note/],
    ["expanded.pth", /does not fit storage expanded\/data\/0 of 1 elements/],
    ["legacy.pth", /before 1\.6/],
    ["big-endian.pth", /byteorder is big/],
    ["compressed.pth", /compressed or encrypted/],
    ["training.safetensors", /not a torch file/],
  ];
  for (const [name, cause] of refused) {
    it(`rejects ${name}`, async () => {
      const path = join(fixtures, name);
      await assert.rejects(openTorchFile(path), refusal(path, cause));
      assert.equal(existsSync("/tmp/epalm-was-here"), false);
    });
  }
});

describe("torch archives", () => {
  const path = join(temporaryFolder(), "case.pth");
  const emptyDict = Buffer.from("\x80\x02}.", "latin1");
  const archives: [string, Record<string, Uint8Array | string>, RegExp][] = [
    ["without a pickle", { "x/version": "3" }, /data\.pkl, got none/],
    ["with two pickles", { "x/data.pkl": emptyDict, "y/data.pkl": emptyDict }, /data\.pkl, got several/],
    ["with an empty dict", { "x/data.pkl": emptyDict }, /found no keys/],
    ["with a list at the top level", { "x/data.pkl": Buffer.from("\x80\x02].", "latin1") }, /no dict of tensors/],
    ["that leaves its folder", { "x/../../data.pkl": emptyDict }, /damaged zip/],
    ["with a long byteorder", { "x/data.pkl": emptyDict, "x/byteorder": "l".repeat(99) }, /expected at most 16/],
  ];
  for (const [what, records, cause] of archives) {
    it(`are rejected ${what}`, async () => {
      writeZip(path, records);
      await assert.rejects(openTorchFile(path), refusal(path, cause));
    });
  }

  it("are rejected if they contain no zip directory", async () => {
    writeFileSync(path, "PK\x03\x04 and nothing else");
    await assert.rejects(openTorchFile(path), refusal(path, /damaged zip/));
  });
});
