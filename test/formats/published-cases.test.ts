/**
 * Files as published code and public libraries write them, each of which was once rejected or misread. The command
 * `npm test -- published-cases` runs these and those of data sets.
 */
import assert from "node:assert/strict";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { clsSettings } from "../../src/adapter/adapter.js";
import type { Checkpoint } from "../../src/formats/checkpoint.js";
import { openCheckpoint } from "../../src/formats/open-checkpoint.js";
import { writeSafetensors } from "../../src/formats/safetensors.js";
import { Weights } from "../../src/formats/weights.js";
import { buildModel, readAdapter } from "../../src/index.js";
import { constantSource, elementCount } from "../../src/tensor/tensor.js";
import { epalm } from "../support/cli-process.js";
import { refusal, values } from "../support/same-tensors.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const cases = "test/fixtures/cases";
const golden = "test/fixtures/goldens/opt-shared-1token";
const folder = temporaryFolder();

async function withCheckpoint<T>(path: string, use: (checkpoint: Checkpoint) => T): Promise<T> {
  const checkpoint = await openCheckpoint(path);
  try {
    return use(checkpoint);
  } finally {
    checkpoint.close();
  }
}

describe("adapters whose best score is a number of numpy", () => {
  it("contain the same tensors and settings as with a float", async () => {
    const expected = await readAdapter(join(cases, "adapter-score-float.pth"));
    assert.deepEqual(await readAdapter(join(cases, "adapter-score-numpy1.pth")), expected);
  });

  it("can be built", async () => {
    const built = await epalm([
      "build",
      ...["--encoder", join(golden, "encoder"), "--decoder", join(golden, "decoder")],
      ...["--adapter", `main=${join(cases, "adapter-score-numpy1.pth")}`, "-o", join(folder, "numpy-score")],
    ]);
    assert.equal(built.code, 0, built.stderr);
  });

  it("are shown with the score", async () => {
    const { stdout } = await epalm(["inspect", join(cases, "adapter-score-numpy1.pth"), "--json"]);
    const { contents } = JSON.parse(stdout);
    assert.deepEqual([contents.best_valid, contents.epoch], [0.97, 6]);
  });
});

describe("objects beside tensors", () => {
  const files: [string, string][] = [
    ["torch-beside-counter.pth", "lr_scheduler"],
    ["torch-beside-dtype.pth", "extra"],
  ];
  for (const [name, skipped] of files) {
    it(`are skipped and listed: ${name}`, async () => {
      const { stdout } = await epalm(["inspect", join(cases, name), "--json"]);
      const description = JSON.parse(stdout);
      assert.deepEqual(description.tensors, [{ name: "w", type: "float32", shape: [2, 2] }]);
      assert.deepEqual(
        description.skipped.map((object: { name: string }) => object.name),
        [skipped],
      );
    });
  }

  it("do not hide a parameter with attributes", async () => {
    await withCheckpoint(join(cases, "torch-parameter-with-state.pth"), ({ tensors }) => {
      assert.deepEqual(tensors.get("w")?.shape, [2, 2]);
      assert.equal(tensors.get("w")?.read().length, 4);
    });
  });

  for (const protocol of [2, 4, 5]) {
    it(`of 30 classes are skipped in protocol ${protocol}, and simple values are shown`, async () => {
      const { stdout } = await epalm(["inspect", join(cases, `beside-protocol${protocol}.pth`), "--json"]);
      const { tensors, contents, skipped } = JSON.parse(stdout);
      assert.deepEqual(tensors, [{ name: "w", type: "float32", shape: [2, 2] }]);
      const { float64, float32, int64, uint8, bool, set, counter, large_integer } = contents;
      assert.deepEqual([float64, float32, int64, uint8, bool, set], [0.25, 0.5, -7, 200, true, [1, 2]]);
      assert.equal(counter.a, 2);
      assert.equal(large_integer, (2n ** 2000n).toString());
      assert.deepEqual(contents.path, { class: "pathlib.PurePosixPath", args: ["/", "data", "run"] });
      const names = new Map(skipped.map((object: { name: string; class: string }) => [object.name, object.class]));
      assert.equal(names.get("namespace"), "argparse.Namespace");
      assert.equal(names.get("omegaconf"), "omegaconf.dictconfig.DictConfig");
      assert.equal(names.get("model._extra_state"), "collections.Counter");
      for (const name of ["datetime", "defaultdict", "array", "enum", "complex", "dtype", "deque", "dataclass"]) {
        assert.ok(names.has(name), name);
      }
    });
  }
});

describe("kinds of tensors", () => {
  const path = join(cases, "tensor-kinds.pth");
  const expected = { type: "float32", shape: [2, 2], data: new Float32Array([1, 2, 3, 4]) };
  it("are read if they are dense, with attributes or without", async () => {
    await withCheckpoint(path, ({ tensors }) => {
      assert.deepEqual([...tensors.keys()], ["w", "typed", "attributes", "parameter", "xla"]);
      for (const source of tensors.values()) assert.deepEqual(values(source), expected);
    });
  });

  const kinds: [string, RegExp][] = [
    ["float8", /tensor float8 is of torch\.float8_e4m3fn, which is not supported/],
    ["complex", /tensor complex is in a torch\.ComplexFloatStorage/],
    ["quantized", /tensor quantized is a quantized tensor/],
    ["sparse", /tensor sparse is a sparse tensor/],
    ["meta", /tensor meta is a meta tensor/],
    ["subclass", /tensor subclass is a tensor subclass/],
    ["conjugated", /tensor conjugated is lazily negated or conjugated/],
  ];
  for (const [name, cause] of kinds) {
    it(`are rejected by name when they are used: ${name}`, async () => {
      await withCheckpoint(path, (checkpoint) => {
        const weights = new Weights(checkpoint);
        assert.ok(weights.take("w", [2, 2]));
        assert.throws(() => weights.take(name, [2, 2]), refusal(path, cause));
      });
    });
  }

  it("are rejected by name if the file contains no others", async () => {
    const only = join(cases, "only-sparse.pth");
    await assert.rejects(openCheckpoint(only), refusal(only, /tensor w is a sparse tensor/));
  });
});

describe("names of an encoder's tensors", () => {
  const plain = join(cases, "vit-plain.safetensors");
  let builds = 0;

  /** Checksums of the encoder's graph and weights in a model with this encoder. */
  async function built(path: string): Promise<unknown> {
    const decoder = join(golden, "decoder");
    const { files } = await buildModel({
      output: join(folder, `model-${builds++}`),
      encoder: { path, given: path, precision: "fp32", preprocessing: "source", heads: 1 },
      decoder: { path: decoder, given: decoder, precision: "fp32" },
      adapters: [],
    });
    return Object.entries(files).filter(([name]) => name.startsWith("encoder/"));
  }

  /** Writes `vit-plain` with other names. */
  async function renamed(name: string, rename: (name: string) => string, more: Record<string, readonly number[]> = {}) {
    const path = join(folder, name);
    await withCheckpoint(plain, ({ tensors }) => {
      const extra = Object.entries(more).map(
        ([key, shape]) => [key, constantSource("float32", shape, new Float32Array(elementCount(shape)))] as const,
      );
      writeSafetensors(path, [...Array.from(tensors, ([key, source]) => [rename(key), source] as const), ...extra]);
    });
    return path;
  }

  it("may have a prefix that all of them share", async () => {
    const expected = await built(plain);
    for (const name of ["vit-orig_mod.safetensors", "vit-module-model.safetensors"]) {
      assert.deepEqual(await built(join(cases, name)), expected, name);
    }
    const prefixes = [
      "backbone",
      "trunk",
      "teacher.backbone",
      "ema",
      "_orig_mod.module",
      "net.encoder.model",
      "visual",
    ];
    for (const prefix of prefixes) {
      const path = await renamed(`${prefix}.safetensors`, (name) => `${prefix}.${name}`);
      assert.deepEqual(await built(path), expected, prefix);
    }
  });

  it("may be accompanied by heads of any kind, inside and outside the prefix", async () => {
    const heads = {
      "head_dist.weight": [3, 64],
      "pre_logits.fc.weight": [64, 64],
      "projector.0.weight": [8, 64],
      "unknown_head.layers.0.weight": [2, 2],
      "segmenter.conv.bias": [2],
      logit_scale: [1],
    };
    const expected = await built(plain);
    const inside = Object.fromEntries(Object.entries(heads).map(([name, shape]) => [`student.${name}`, shape]));
    const paths = [
      await renamed("heads.safetensors", (name) => name, heads),
      await renamed("heads-outside.safetensors", (name) => `backbone.${name}`, heads),
      await renamed("heads-inside.safetensors", (name) => `student.${name}`, inside),
    ];
    for (const path of paths) assert.deepEqual(await built(path), expected, path);
  });

  for (const name of ["augreg.npz", "big-vision.npz"]) {
    it(`may be those of flax in an archive of numpy: ${name}`, async () => {
      assert.deepEqual(await built(join(cases, name)), await built(plain));
    });
  }

  it("must be in an uncompressed archive; otherwise the error names the same weights on the hub", async () => {
    const path = join(cases, "compressed.npz");
    const cause = /compressed .*safetensors: timm\/vit_base_patch16_224\.augreg_in21k_ft_in1k/;
    await assert.rejects(openCheckpoint(path), refusal(path, cause));
  });

  const wrong: [string, (name: string) => string, Record<string, readonly number[]>, RegExp][] = [
    ["a missing norm", (name) => name.replace(/^norm\.weight/, "final.weight"), {}, /tensor norm\.weight is missing/],
    ["a misnamed part of a block", (name) => name.replace("mlp.fc2", "mlp.fc3"), {}, /mlp\.fc2\.weight is missing/],
    ["half a layer scale", (name) => name, { "blocks.0.ls1.gamma": [64] }, /blocks\.0\.ls2\.gamma is missing/],
    ["register tokens", (name) => name, { reg_token: [1, 4, 64] }, /unexpected tensor reg_token/],
    ["half a norm before the blocks", (name) => name, { "norm_pre.weight": [64] }, /norm_pre\.bias is missing/],
    ["a missing tensor with a prefix", (name) => (name === "pos_embed" ? name : `x.${name}`), {}, /pos_embed/],
    [
      "a second encoder",
      (name) => `a.${name}`,
      { "b.patch_embed.proj.weight": [1, 1, 1, 1] },
      /several with the prefixes (a\., b|b\., a)\./,
    ],
  ];
  for (const [index, [what, rename, more, cause]] of wrong.entries()) {
    it(`must not have ${what}`, async () => {
      const path = await renamed(`wrong-${index}.safetensors`, rename, more);
      await assert.rejects(built(path), { name: "EpalmError", message: cause });
    });
  }

  it("may have a prefix in an adapter", async () => {
    const original = await readAdapter(join(golden, "adapter.pth"));
    const path = join(folder, "wrapped-adapter.safetensors");
    await withCheckpoint(join(golden, "adapter.pth"), ({ tensors }) => {
      writeSafetensors(
        path,
        Array.from(tensors, ([name, source]) => [`module._orig_mod.${name}`, source] as const),
      );
    });
    const { injectedStates, startLayer, endLayer } = clsSettings(original.settings, path);
    const wrapped = await readAdapter(path, { injectedStates, startLayer, endLayer });
    assert.deepEqual([...wrapped.tensors], [...original.tensors]);
  });
});

describe("null in the JSON files of a checkpoint", () => {
  /** A copy of a golden checkpoint, with changed JSON files. */
  function changed(name: string, source: string, files: Record<string, (json: Record<string, unknown>) => unknown>) {
    const target = join(folder, name);
    cpSync(source, target, { recursive: true });
    for (const [file, change] of Object.entries(files)) {
      const path = join(target, file);
      const json = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
      writeFileSync(path, JSON.stringify(change(json)));
    }
    return target;
  }

  const manifestOf = (output: string, encoder: string, decoder: string) =>
    buildModel({
      output: join(folder, output),
      name: "model",
      encoder: { path: encoder, given: "encoder", precision: "fp32", preprocessing: "source" },
      decoder: { path: decoder, given: "decoder", precision: "fp32" },
      adapters: [],
    });

  it("means absent in preprocessor_config.json", async () => {
    const processor = JSON.parse(readFileSync(join(cases, "preprocessor_config.json"), "utf8"));
    const encoder = changed("null-processor", join(golden, "encoder"), { "preprocessor_config.json": () => processor });
    const { encoder: built } = await manifestOf("model-null-processor", encoder, join(golden, "decoder"));
    assert.deepEqual(built.preprocessing, {
      size: { height: 32, width: 32 },
      resize: { mode: "squash", height: 32, width: 32 },
      resample: "bilinear",
      rescaleFactor: 1 / 255,
      mean: [0.5, 0.5, 0.5],
      std: [0.5, 0.5, 0.5],
    });
  });

  it("means absent in nested sizes, as newer versions write them", async () => {
    const encoder = changed("null-size", join(golden, "encoder"), {
      "preprocessor_config.json": (json) => ({
        ...json,
        size: { height: 32, width: 32, longest_edge: null, shortest_edge: null, max_height: null },
      }),
    });
    const built = await manifestOf("model-null-size", encoder, join(golden, "decoder"));
    assert.ok(built.encoder.modality === "image");
    assert.deepEqual(built.encoder.preprocessing.size, { height: 32, width: 32 });
  });

  it("means absent for every optional key of config.json and generation_config.json", async () => {
    const optional = (keys: readonly string[]) => (json: Record<string, unknown>) => ({
      ...Object.fromEntries(keys.map((key) => [key, null])),
      ...json,
    });
    const encoder = changed("null-encoder", join(golden, "encoder"), {
      "config.json": optional(["num_channels", "hidden_act", "qkv_bias", "pretrained_cfg", "id2label", "pooler_act"]),
    });
    const decoder = changed("null-decoder", join(golden, "decoder"), {
      "config.json": optional(["word_embed_proj_dim", "ffn_dim_multiplier", "sep_token_id", "quantization_config"]),
      "generation_config.json": (json) => ({ ...json, bos_token_id: null, eos_token_id: null, max_length: null }),
    });
    const expected = await manifestOf("model-plain", join(golden, "encoder"), join(golden, "decoder"));
    const { decoder: built, files } = await manifestOf("model-nulls", encoder, decoder);
    assert.deepEqual(files, expected.files);
    assert.deepEqual([built.startToken, built.endTokens], [expected.decoder.startToken, expected.decoder.endTokens]);
  });
});
