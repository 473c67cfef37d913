import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gradient, gradientName } from "../../src/autodiff/gradient.js";
import type { EncoderBackbone, PatchBackbone } from "../../src/backbones/backbone.js";
import { ParameterReader } from "../../src/backbones/parameters.js";
import { bareEncoderArchitecture, encoderArchitecture } from "../../src/backbones/registry.js";
import type { Precision } from "../../src/core/precision.js";
import type { Checkpoint } from "../../src/formats/checkpoint.js";
import { Weights } from "../../src/formats/weights.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { inPrecision } from "../../src/graph/in-precision.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession } from "../../src/runtime/session.js";
import { concatenatedRows } from "../../src/tensor/source-recipes.js";
import { constantSource, floats, type Tensor, type TensorSource } from "../../src/tensor/tensor.js";
import { TrainedParameters } from "../../src/training/trained-parameters.js";
import { encoded, sourceOf } from "../support/read-tiny-encoder.js";
import { numbersOf } from "../support/small-graphs.js";
import {
  assertClose,
  type Config,
  golden,
  openWeights,
  readConfig,
  renamed,
  zeros,
} from "../support/tiny-backbones.js";

interface Results {
  readonly states: Tensor;
  readonly patches: Tensor;
}

/** [CLS] states and normed patches. Without a config, it is derived from the tensors. */
async function run(
  checkpoint: Checkpoint,
  config: Config | "bare",
  imageSize: number,
  pixels: Tensor,
  precision: Precision = "fp32",
): Promise<Results> {
  const architecture =
    config === "bare"
      ? bareEncoderArchitecture(checkpoint.tensors.keys())
      : encoderArchitecture(String(config.model_type), "test");
  const weights = new Weights(checkpoint, { rename: architecture.rename });
  const g = new GraphBuilder("encoder");
  const known =
    config === "bare" ? architecture.configFromTensors((name) => weights.shapeOf(name), { heads: 3 }) : config;
  const backbone = architecture.build(known, new ParameterReader(g, weights), { imageSize });
  assert.deepEqual(backbone.inputShape, [3, imageSize, imageSize]);
  assert.ok(hasPatches(backbone));
  const { classTokens, patches } = backbone.through(g.input("pixels", "float32", ["batch", ...backbone.inputShape]));
  g.output("states", classTokens);
  g.output("patches", patches());
  const graph = g.finish();
  weights.finish();
  const written = inPrecision(graph, precision);
  const session = await openSession(encodeOnnx(written), { threads: 1 });
  const results = await session.run({ pixels }, ["states", "patches"]);
  await session.close();
  assert.ok(results.states && results.patches);
  return { states: results.states, patches: results.patches };
}

const hasPatches = (backbone: EncoderBackbone): backbone is PatchBackbone => "through" in backbone;

const cases: readonly (readonly [name: string, sizes: readonly number[]])[] = [
  ["dinov2", [42, 24, 54]],
  ["dinov2-giant", [20, 12]],
  ["dinov2-with-registers", [35, 15, 45]],
  ["dinov3", [20, 28]],
  ["dinov3-gated", [20, 28]],
];

describe("DINOv2 and DINOv3", () => {
  for (const [name, sizes] of cases) {
    for (const size of sizes) {
      it(`give transformers' [CLS] states and patches: ${name}, ${size} pixels`, async () => {
        const found = await run(openWeights(name), readConfig(name), size, golden(name, `pixels_${size}`));
        assertClose(found.states, golden(name, `states_${size}`));
        assertClose(found.patches, golden(name, `patches_${size}`));
      });
    }
  }
});

describe("DINOv2 and DINOv3 with the mean of the patches", () => {
  for (const [name, [size = 0]] of cases) {
    it(`leave out the class token and the registers: ${name}`, async () => {
      const source = sourceOf(openWeights(name), readConfig(name));
      const choices = { pooling: "mean", imageSize: size } as const;
      const states = numbersOf(await encoded(source, golden(name, `pixels_${size}`), choices));
      const patches = golden(name, `patches_${size}`);
      const [batch = 0, count = 0, width = 0] = patches.shape;
      const depth = states.length / (batch * width);
      for (let image = 0; image < batch; image++) {
        for (let channel = 0; channel < width; channel++) {
          const at = Array.from({ length: count }, (_, patch) => (image * count + patch) * width + channel);
          const mean = at.reduce((sum, index) => sum + Number(patches.data[index]), 0) / count;
          const last = states[((image + 1) * depth - 1) * width + channel] ?? Number.NaN;
          assert.ok(Math.abs(last - mean) < 1e-5, `${image}, ${channel}: ${last}, expected ${mean}`);
        }
      }
    });
  }
});

describe("trained DINOv2 and DINOv3", () => {
  for (const name of ["dinov2", "dinov3", "dinov3-gated"]) {
    it(`have gradients that agree with finite differences: ${name}`, async () => {
      const config = readConfig(name);
      const { rename, build } = encoderArchitecture(String(config.model_type), "test");
      const weights = new Weights(openWeights(name), { rename });
      const g = new GraphBuilder("trained");
      const parameters = new TrainedParameters(g, weights);
      const backbone = build(config, parameters);
      const states = backbone.states(g.input("pixels", "float32", ["batch", ...backbone.inputShape]));
      g.output("loss", g.sum(g.multiply(states, g.multiply(states, states)), [0, 1, 2], false));
      const { trained } = parameters;
      const session = await openSession(encodeOnnx(gradient(g.finish(), "loss", trained)), { threads: 1 });
      const tensors = trained.map((key) => {
        const { shape, read } = weights.take(key, weights.shapeOf(key) ?? []);
        return [key, { type: "float32", shape, data: Float32Array.from(read() as Float32Array) } as Tensor] as const;
      });
      const size = backbone.inputShape[1] ?? 0;
      const pixels = { type: "float32", shape: [1, 3, size, size], data: new Float32Array(3 * size * size) } as const;
      pixels.data.forEach((_, i) => {
        pixels.data[i] = Math.sin(i);
      });
      const lossAt = async (step: number, along: ReadonlyMap<string, Float32Array>, outputs: readonly string[]) => {
        const moved = tensors.map(([key, tensor]) => {
          const slope = along.get(key);
          return [key, { ...tensor, data: floats(tensor).map((v, i) => v + step * Number(slope?.[i] ?? 0)) }] as const;
        });
        return session.run({ pixels, ...Object.fromEntries(moved) }, outputs);
      };
      const names = trained.map(gradientName);
      const first = await lossAt(0, new Map(), names);
      const slopes = new Map(trained.map((key) => [key, floats(first[gradientName(key)])]));
      const length = Math.hypot(...[...slopes.values()].flatMap((slope) => [...slope]));
      const step = 3e-3 / length;
      const [up, down] = [await lossAt(step, slopes, ["loss"]), await lossAt(-step, slopes, ["loss"])];
      await session.close();
      const measured = (Number(up.loss?.data[0]) - Number(down.loss?.data[0])) / (2 * step * length);
      assert.ok(Math.abs(measured / length - 1) < 0.01, `measured ${measured}, computed ${length}`);
      // No tensor is left out of the graph.
      const still = trained.filter((key) => slopes.get(key)?.every((value) => value === 0));
      assert.deepEqual(still, []);
    });
  }
});

describe("quantized DINOv2 and DINOv3", () => {
  for (const [name, [size = 0]] of cases) {
    for (const [precision, least] of [
      ["int8", 0.999],
      ["int4", 0.95],
    ] as const) {
      it(`give states with a cosine similarity of ${least} in ${precision}: ${name}`, async () => {
        const [pixels, expected] = [golden(name, `pixels_${size}`), golden(name, `states_${size}`)];
        const found = await run(openWeights(name), readConfig(name), size, pixels, precision);
        assert.ok(smallestCosine(found.states, expected) >= least);
      });
    }
  }
});

/** The smallest cosine similarity of states [B, depth, dv]. */
function smallestCosine(found: Tensor, expected: Tensor): number {
  const width = expected.shape.at(-1) ?? 1;
  const [a, b] = [floats(found), floats(expected)];
  const product = (x: Float32Array, y: Float32Array, start: number) =>
    x.subarray(start, start + width).reduce((sum, value, i) => sum + value * Number(y[start + i]), 0);
  const starts = Array.from({ length: b.length / width }, (_, index) => index * width);
  return Math.min(...starts.map((at) => product(a, b, at) / Math.sqrt(product(a, a, at) * product(b, b, at))));
}

/** Replaces groups of tensors by their concatenation along the first axis. */
function joined(checkpoint: Checkpoint, groups: readonly (readonly [pattern: RegExp, parts: string[], to: string])[]) {
  const tensors = new Map(checkpoint.tensors);
  for (const [pattern, parts, to] of groups) {
    for (const name of checkpoint.tensors.keys()) {
      if (!pattern.test(name)) continue;
      const sources = parts.map((part) => {
        const found = tensors.get(name.replace(pattern, part));
        assert.ok(found);
        tensors.delete(name.replace(pattern, part));
        return found;
      });
      tensors.set(name.replace(pattern, to), concatenatedRows(sources));
    }
  }
  return { ...checkpoint, tensors };
}

type Replacement = readonly [from: RegExp, to: string];

const rename = (replacements: readonly Replacement[]) => (name: string) =>
  replacements.reduce((text, [from, to]) => text.replace(from, to), name);

/** transformers' names -> those of the published `.pth`. */
const published: readonly Replacement[] = [
  [/^dinov2\./, ""],
  [/^embeddings\.patch_embeddings(\.projection)?\./, "patch_embed.proj."],
  [/^embeddings\.position_embeddings/, "pos_embed"],
  [/^embeddings\./, ""],
  [/^(encoder\.)?layer\./, "blocks."],
  [/layer_scale(\d)\.lambda1/, "ls$1.gamma"],
  [/attention\.output\.dense|attention\.o_proj/, "attn.proj"],
  [/mlp\.weights_in/, "mlp.w12"],
  [/mlp\.weights_out/, "mlp.w3"],
  [/^layernorm/, "norm"],
];

const QUERY = /attention\.attention\.query/;
const qkv = ["query", "key", "value"].map((part) => `attention.attention.${part}`);

function publishedDinov2(name: string): Checkpoint {
  return renamed(joined(openWeights(name), [[QUERY, qkv, "attn.qkv"]]), rename(published));
}

function without(checkpoint: Checkpoint, ...names: string[]): Checkpoint {
  return { ...checkpoint, tensors: new Map([...checkpoint.tensors].filter(([name]) => !names.includes(name))) };
}

const computed = (shape: number[], data: () => Float32Array): TensorSource => constantSource("float32", shape, data());

const valuesOf = (checkpoint: Checkpoint, name: string) => {
  const source = checkpoint.tensors.get(name);
  assert.ok(source);
  return { shape: source.shape, data: source.read() as Float32Array };
};

describe("DINOv2 from files without a config", () => {
  for (const size of [24, 54]) {
    it(`interpolates positions like the published code: ${size} pixels`, async () => {
      const weights = publishedDinov2("dinov2");
      assert.ok(weights.tensors.has("blocks.1.attn.qkv.bias") && weights.tensors.has("mask_token"));
      const found = await run(weights, "bare", size, golden("dinov2", `pixels_${size}`));
      assertClose(found.states, golden("dinov2", `states_published_${size}`));
    });

    it(`interpolates them like timm: ${size} pixels`, async () => {
      const weights = without(publishedDinov2("dinov2"), "mask_token");
      const found = await run(weights, "bare", size, golden("dinov2", `pixels_${size}`));
      assertClose(found.states, golden("dinov2", `states_timm_${size}`));
    });
  }

  it("reads blocks in chunks and a gated feed-forward", async () => {
    const weights = renamed(publishedDinov2("dinov2-giant"), (name) => name.replace(/^blocks\.(\d+)/, "blocks.$1.$1"));
    assert.ok(weights.tensors.has("blocks.1.1.mlp.w12.weight"));
    const found = await run(weights, "bare", 20, golden("dinov2-giant", "pixels_20"));
    assertClose(found.states, golden("dinov2-giant", "states_20"));
  });

  it("reads published registers", async () => {
    const name = "dinov2-with-registers";
    const weights = publishedDinov2(name);
    assert.ok(weights.tensors.has("register_tokens"));
    // The fixture's activation is not the published one, which weights without a config imply.
    const found = await run(weights, readConfig(name), 15, golden(name, "pixels_15"));
    assertClose(found.states, golden(name, "states_15"));
  });

  it("reads timm's registers, whose class token contains its position", async () => {
    const name = "dinov2-with-registers";
    const weights = without(publishedDinov2(name), "mask_token");
    const [token, table] = [valuesOf(weights, "cls_token"), valuesOf(weights, "pos_embed")];
    const tensors = new Map(weights.tensors);
    tensors.set(
      "cls_token",
      computed([1, 1, 24], () => token.data.map((value, i) => value + Number(table.data[i]))),
    );
    tensors.set(
      "pos_embed",
      computed([1, 49, 24], () => table.data.slice(24)),
    );
    const timm = renamed({ ...weights, tensors }, (key) => key.replace("register_tokens", "reg_token"));
    const expected = await run(publishedDinov2(name), "bare", 15, golden(name, "pixels_15"));
    const found = await run(timm, "bare", 15, golden(name, "pixels_15"));
    assertClose(found.states, expected.states);
    assertClose(found.patches, expected.patches);
  });
});

describe("DINOv3 from files without a config", () => {
  /** As published: queries, keys and values in one tensor, whose bias has a part that a mask removes. */
  function publishedDinov3(): Checkpoint {
    const checkpoint = openWeights("dinov3");
    const ones = new Float32Array(24).fill(1);
    const tensors = new Map(checkpoint.tensors);
    for (const block of [0, 1]) {
      tensors.set(
        `layer.${block}.attention.k_proj.bias`,
        constantSource(
          "float32",
          [24],
          ones.map((_, i) => i),
        ),
      );
      for (const [part, mask] of [
        ["q", ones],
        ["k", new Float32Array(24)],
        ["v", ones],
      ] as const) {
        tensors.set(`layer.${block}.attention.${part}_proj.bias_mask`, constantSource("float32", [24], mask));
      }
    }
    const parts = ["q", "k", "v"].map((part) => `attention.${part}_proj`);
    const whole = joined({ ...checkpoint, tensors }, [[/attention\.q_proj/, parts, "attn.qkv"]]);
    return renamed(
      whole,
      rename([
        ...published,
        [/^register_tokens/, "storage_tokens"],
        [/mlp\.up_proj/, "mlp.fc1"],
        [/mlp\.down_proj/, "mlp.fc2"],
      ]),
    );
  }

  it("reads the published names", async () => {
    const weights = publishedDinov3();
    assert.ok(weights.tensors.has("blocks.1.attn.qkv.bias_mask") && weights.tensors.has("storage_tokens"));
    const found = await run(weights, "bare", 28, golden("dinov3", "pixels_28"));
    assertClose(found.states, golden("dinov3", "states_28"));
  });

  it("uses the rotation periods of the file", async () => {
    const weights = publishedDinov3();
    const tensors = new Map(weights.tensors);
    tensors.set("rope_embed.periods", constantSource("float32", [2], Float32Array.of(1, 10)));
    const same = await run({ ...weights, tensors }, "bare", 28, golden("dinov3", "pixels_28"));
    assertClose(same.states, golden("dinov3", "states_28"));
    tensors.set("rope_embed.periods", constantSource("float32", [2], Float32Array.of(1, 5)));
    const other = await run({ ...weights, tensors }, "bare", 28, golden("dinov3", "pixels_28"));
    assert.throws(() => assertClose(other.states, golden("dinov3", "states_28")));
  });

  it("reads timm's names, with biases of queries and values only", async () => {
    const weights = joined(openWeights("dinov3"), [
      [/attention\.q_proj(?=\.weight)/, ["q", "k", "v"].map((part) => `attention.${part}_proj`), "attn.qkv"],
    ]);
    const timm = renamed(
      weights,
      rename([
        [/attention\.([qv])_proj\.bias/, "attn.$1_bias"],
        [/layer_scale(\d)\.lambda1/, "gamma_$1"],
        ...published,
        [/^register_tokens/, "reg_token"],
        [/mlp\.up_proj/, "mlp.fc1"],
        [/mlp\.down_proj/, "mlp.fc2"],
      ]),
    );
    assert.ok(timm.tensors.has("blocks.0.attn.q_bias") && timm.tensors.has("blocks.0.gamma_1"));
    const found = await run(without(timm, "mask_token"), "bare", 28, golden("dinov3", "pixels_28"));
    assertClose(found.states, golden("dinov3", "states_28"));
  });

  it("reads a gated feed-forward in three tensors", async () => {
    const weights = renamed(
      openWeights("dinov3-gated"),
      rename([...published, [/mlp\.gate_proj/, "mlp.w1"], [/mlp\.up_proj/, "mlp.w2"], [/mlp\.down_proj/, "mlp.w3"]]),
    );
    const found = await run(weights, readConfig("dinov3-gated"), 28, golden("dinov3-gated", "pixels_28"));
    assertClose(found.states, golden("dinov3-gated", "states_28"));
  });

  it("ignores the norm of local crops and rejects one of the class token", async () => {
    const weights = publishedDinov3();
    const tensors = new Map(weights.tensors).set("local_cls_norm.weight", zeros(24));
    const pixels = golden("dinov3", "pixels_28");
    assertClose((await run({ ...weights, tensors }, "bare", 28, pixels)).states, golden("dinov3", "states_28"));
    tensors.set("cls_norm.weight", zeros(24));
    await assert.rejects(run({ ...weights, tensors }, "bare", 28, pixels), { message: /cls_norm/ });
  });
});
