import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { writeSafetensors } from "../../../src/formats/safetensors.js";
import { constantSource, type Tensor } from "../../../src/tensor/tensor.js";
import {
  type EncoderFolder,
  readEncoderFolder,
  writeEncoderFolder,
} from "../../../src/training/encoder/encoder-folder.js";
import { resizeEncoder } from "../../../src/training/encoder/resize-encoder.js";
import { filesOf, temporaryFolder, tensorsOf } from "../../support/tiny-clients.js";

const golden = "test/fixtures/goldens/mae-one-block/mae";
const facebook = "test/fixtures/mae-facebook";
/** Properties that a single file does not contain. */
const heads = { heads: 4, decoderHeads: 4 };
const folder = temporaryFolder();

const isDecoder = (name: string) => /^(decoder_|mask_token)/.test(name);

/** Asserts that names, shapes and all numbers are equal. */
function assertSame(found: ReadonlyMap<string, Tensor>, expected: ReadonlyMap<string, Tensor>): void {
  assert.deepEqual(Array.from(found.keys()).sort(), Array.from(expected.keys()).sort());
  for (const [name, tensor] of expected) assert.deepEqual(found.get(name), tensor, name);
}

/** Writes tensors as a single file. */
function bareFile(name: string, tensors: ReadonlyMap<string, Tensor>): string {
  const path = join(folder, `${name}.safetensors`);
  writeSafetensors(
    path,
    Array.from(tensors, ([key, { shape, data }]) => [key, constantSource("float32", shape, data)]),
    {},
  );
  return path;
}

describe("a masked autoencoder of Hugging Face", () => {
  it("is read under published names, with queries, keys and values joined", async () => {
    const { config, tensors } = await readEncoderFolder(golden);
    const theirs = tensorsOf(join(golden, "model.safetensors"));
    assert.equal(config.model_type, "vit_mae");
    assert.equal(config.layer_norm_eps, 1e-12);
    const of = (prefix: string, kind: string) =>
      ["query", "key", "value"].flatMap((part) =>
        Array.from(theirs.get(`${prefix}.attention.attention.${part}.${kind}`)?.data ?? [], Number),
      );
    for (const [ours, prefix] of [
      ["blocks.0", "vit.encoder.layer.0"],
      ["decoder_blocks.0", "decoder.decoder_encoder.layer.0"],
    ] as const) {
      for (const kind of ["weight", "bias"]) {
        assert.deepEqual(Array.from(tensors.get(`${ours}.attn.qkv.${kind}`)?.data ?? [], Number), of(prefix, kind));
      }
    }
    assert.deepEqual(tensors.get("pos_embed"), theirs.get("vit.embeddings.position_embeddings"));
    assert.deepEqual(tensors.get("decoder_pred.weight"), theirs.get("decoder.decoder_pred.weight"));
    const count = (all: ReadonlyMap<string, Tensor>) =>
      Array.from(all.values()).reduce((sum, { data }) => sum + data.length, 0);
    assert.equal(count(tensors), count(theirs));
  });

  it("is written with published names and read again unchanged", async () => {
    const read = await readEncoderFolder(golden);
    const [once, twice] = [join(folder, "once"), join(folder, "twice")];
    writeEncoderFolder(once, read);
    const again = await readEncoderFolder(once);
    assert.deepEqual(again.config, read.config);
    assertSame(again.tensors, read.tensors);
    writeEncoderFolder(twice, again);
    assert.deepEqual(filesOf(twice), filesOf(once));
    const { size } = JSON.parse(readFileSync(join(once, "preprocessor_config.json"), "utf8"));
    assert.deepEqual(size, { height: 32, width: 32 });
  });
});

describe("a checkpoint of facebookresearch/mae", () => {
  it("has the same tensors, and sizes derived from them", async () => {
    const [theirs, same] = await Promise.all([
      readEncoderFolder(join(facebook, "full.pth"), heads),
      readEncoderFolder(golden),
    ]);
    assertSame(theirs.tensors, same.tensors);
    assert.deepEqual(theirs.config, { ...same.config, layer_norm_eps: 1e-6 });
  });

  for (const name of ["encoder.pth", "fine-tuned.pth"]) {
    it(`is read as an encoder from ${name}`, async () => {
      const [theirs, same] = await Promise.all([
        readEncoderFolder(join(facebook, name), heads),
        readEncoderFolder(golden),
      ]);
      assert.equal(theirs.config.model_type, "vit");
      assertSame(theirs.tensors, new Map(Array.from(same.tensors).filter(([key]) => !isDecoder(key))));
      const written = join(folder, name);
      writeEncoderFolder(written, theirs);
      const again = await readEncoderFolder(written);
      assert.deepEqual(again, theirs);
    });
  }
});

describe("the pooling of an encoder", () => {
  it("is the mean of the patches for masked autoencoders, unless they were fine-tuned on their class token", async () => {
    const { tensors } = await readEncoderFolder(golden);
    const encoder = new Map(Array.from(tensors).filter(([key]) => !isDecoder(key)));
    const head: Tensor = { type: "float32", shape: [2, 32], data: new Float32Array(64) };
    const bare = join(folder, "hugging-face-vit");
    writeEncoderFolder(bare, { config: { ...(await readEncoderFolder(golden)).config }, tensors: encoder });
    const config = JSON.parse(readFileSync(join(bare, "config.json"), "utf8"));
    const { epalm_pooling: _recorded, ...public_ } = { ...config, model_type: "vit" };
    writeFileSync(join(bare, "config.json"), JSON.stringify(public_));
    const cases = [
      [golden, "mean"],
      [join(facebook, "full.pth"), "mean"],
      [join(facebook, "encoder.pth"), "mean"],
      // It was fine-tuned on the mean of the patches.
      [join(facebook, "fine-tuned.pth"), "mean"],
      [bareFile("fine-tuned-on-cls", new Map([...encoder, ["head.weight", head]])), "cls"],
      [bare, "cls"],
    ] as const;
    for (const [path, expected] of cases) {
      assert.equal((await readEncoderFolder(path, heads)).config.epalm_pooling, expected, path);
    }
  });

  it("is that of the folder, if it records one", async () => {
    for (const pooling of ["cls", "mean"] as const) {
      for (const path of [golden, join(facebook, "encoder.pth")]) {
        const { config, tensors } = await readEncoderFolder(path, heads);
        const written = join(folder, `${config.model_type}-${pooling}`);
        writeEncoderFolder(written, { config: { ...config, epalm_pooling: pooling }, tensors });
        const again = resizeEncoder(await readEncoderFolder(written), 48);
        assert.equal(again.config.epalm_pooling, pooling, path);
      }
    }
  });
});

describe("readEncoderFolder", async () => {
  const { tensors } = await readEncoderFolder(golden);
  const without = (name: string) => new Map(Array.from(tensors).filter(([key]) => key !== name));
  const emptyFolder = join(folder, "empty");
  mkdirSync(emptyFolder);
  const badConfig = join(folder, "bad-config");
  mkdirSync(badConfig);
  copyFileSync(join(golden, "model.safetensors"), join(badConfig, "model.safetensors"));
  const settings = JSON.parse(readFileSync(join(golden, "config.json"), "utf8"));
  writeFileSync(join(badConfig, "config.json"), JSON.stringify({ ...settings, hidden_size: "wide" }));
  const text = join(folder, "text.pth");
  writeFileSync(text, "no checkpoint");
  const apart = new Map(
    Array.from(tensors).flatMap(
      ([
        name,
        {
          shape: [rows = 0, ...inner],
          data,
        },
      ]): [string, Tensor][] =>
        name === "blocks.0.attn.qkv.weight"
          ? [
              [
                name.replace("qkv", "q"),
                { type: "float32", shape: [rows / 3, ...inner], data: data.slice(0, data.length / 3) },
              ],
            ]
          : [[name, { type: "float32", shape: [rows, ...inner], data }]],
    ),
  );

  const cases: readonly (readonly [what: string, path: string, code: string, message: RegExp])[] = [
    ["a path that leads nowhere", join(folder, "none"), "not_found", /none: no such file or folder/],
    ["a folder without weights", emptyFolder, "not_found", /empty/],
    ["a file of text", text, "invalid_checkpoint", /text\.pth/],
    ["a config with a word for a size", badConfig, "unsupported_architecture", /bad-config.*hidden_size/],
    [
      "an adapter",
      "test/fixtures/goldens/opt-shared-1token/adapter.pth",
      "invalid_checkpoint",
      /patch_embed\.proj\.weight/,
    ],
    ["tensors without positions", bareFile("positions", without("pos_embed")), "invalid_checkpoint", /pos_embed/],
    [
      "queries without keys and values",
      bareFile("queries", apart),
      "invalid_checkpoint",
      /queries\.safetensors: blocks\.0\.attn: expected q, k and v weight/,
    ],
  ];
  for (const [what, path, code, message] of cases) {
    it(`rejects and names ${what}`, async () => {
      await assert.rejects(readEncoderFolder(path, heads), { name: "EpalmError", code, message });
    });
  }
});

describe("resizeEncoder", () => {
  it("interpolates positions, also in the decoder, and changes nothing else", async () => {
    const given = await readEncoderFolder(golden);
    const { config, tensors } = resizeEncoder(given, 48);
    assert.equal(config.image_size, 48);
    assert.deepEqual(tensors.get("pos_embed")?.shape, [1, 37, 32]);
    assert.deepEqual(tensors.get("decoder_pos_embed")?.shape, [1, 37, 24]);
    for (const [name, tensor] of given.tensors) {
      if (!name.endsWith("pos_embed")) assert.equal(tensors.get(name), tensor);
    }
  });

  it("rejects a size that the patches do not divide, and positions that are not a square", async () => {
    const given = await readEncoderFolder(golden);
    assert.throws(() => resizeEncoder(given, 30), {
      code: "unsupported_architecture",
      message: /8 do not divide 30/,
    });
    const odd: Tensor = { type: "float32", shape: [1, 18, 32], data: new Float32Array(18 * 32) };
    const distilled: EncoderFolder = { ...given, tensors: new Map(given.tensors).set("pos_embed", odd) };
    assert.throws(() => resizeEncoder(distilled, 48), {
      code: "invalid_checkpoint",
      message: /^pos_embed: .*4 x 4/,
    });
  });
});
