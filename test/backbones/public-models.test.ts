import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { decoderGraph } from "../../src/adapter/decoder-graph.js";
import type { DecoderShape } from "../../src/backbones/backbone.js";
import { encoderGraph } from "../../src/backbones/encoder-graph.js";
import { ParameterReader } from "../../src/backbones/parameters.js";
import { decoderArchitecture, encoderArchitecture } from "../../src/backbones/registry.js";
import type { Checkpoint } from "../../src/checkpoints/checkpoint.js";
import { openCheckpoint } from "../../src/checkpoints/open-checkpoint.js";
import { openSafetensors } from "../../src/checkpoints/safetensors.js";
import { Weights } from "../../src/checkpoints/weights.js";
import { KeyValueCache } from "../../src/generation/key-value-cache.js";
import { stepInputs } from "../../src/generation/step-inputs.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Graph } from "../../src/graph/ir.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession } from "../../src/runtime/session.js";
import type { Tensor, TensorSource } from "../../src/tensor/tensor.js";

/** Tiny models with the numbers of transformers' own code; test/fixtures/backbones/make_fixtures.py wrote them. */
const fixtures = "test/fixtures/backbones";

/** Largest difference over the largest expected number: float32 in another order of summation. */
const TOLERANCE = 1e-5;

type Config = Record<string, unknown>;

function readConfig(name: string): Config {
  return JSON.parse(readFileSync(join(fixtures, name, "config.json"), "utf8")) as Config;
}

function golden(name: string, key: string): Tensor {
  const source = openSafetensors(join(fixtures, name, "golden.safetensors")).tensors.get(key);
  assert.ok(source, `${name} has ${key}`);
  return { type: source.type, shape: source.shape, data: source.read() };
}

function buildDecoder(checkpoint: Checkpoint, config: Config): { graph: Graph; shape: DecoderShape } {
  const architecture = decoderArchitecture(String(config.model_type), checkpoint.path);
  const weights = new Weights(checkpoint, { rename: architecture.rename });
  const g = new GraphBuilder("decoder");
  const backbone = architecture.build(config, new ParameterReader(g, weights));
  const graph = decoderGraph(g, backbone);
  weights.finish();
  return { graph, shape: backbone.shape };
}

function buildEncoder(checkpoint: Checkpoint, config: Config): Graph {
  const architecture = encoderArchitecture(String(config.model_type), checkpoint.path);
  const weights = new Weights(checkpoint, { rename: architecture.rename });
  const g = new GraphBuilder("encoder");
  const graph = encoderGraph(g, architecture.build(config, new ParameterReader(g, weights)));
  weights.finish();
  return graph;
}

/** Logits of every token of texts of one length, without perception: [B * T, V] */
async function logitsOf(graph: Graph, shape: DecoderShape, ids: Tensor): Promise<Tensor> {
  const [batch = 0, length = 0] = ids.shape;
  const rows = Array.from({ length: batch }, (_, row) => {
    const text = Array.from(ids.data.slice(row * length, (row + 1) * length) as BigInt64Array, Number);
    return {
      row: { context: {}, text, cached: 0 },
      active: true,
      asks: { kind: "targets", tokens: text } as const,
    };
  });
  const { feeds } = stepInputs(rows, shape, 0, 1);
  const session = await openSession(encodeOnnx(graph));
  const cache = new KeyValueCache(shape).feeds(0, batch, true);
  const { logits } = await session.run({ ...feeds, ...cache }, ["logits"]);
  await session.close();
  assert.ok(logits);
  return logits;
}

function assertClose(found: Tensor, expected: Tensor): void {
  assert.equal(found.data.length, expected.data.length);
  const largest = (expected.data as Float32Array).reduce((size, value) => Math.max(size, Math.abs(value)), 0);
  (expected.data as Float32Array).forEach((value, index) => {
    const difference = Math.abs(Number(found.data[index]) - value) / largest;
    assert.ok(difference <= TOLERANCE, `element ${index}: ${found.data[index]}, expected ${value}`);
  });
}

/** A checkpoint with some tensors put in, or taken out where undefined. */
function changed(
  checkpoint: Checkpoint,
  changes: Readonly<Record<string, TensorSource | undefined>>,
): Checkpoint {
  const tensors = new Map(checkpoint.tensors);
  for (const [name, source] of Object.entries(changes)) {
    if (source) tensors.set(name, source);
    else tensors.delete(name);
  }
  return { ...checkpoint, path: checkpoint.path, tensors, close: () => checkpoint.close() };
}

const decoders = [
  "gpt2",
  "gpt2-old-names",
  "qwen2-tied",
  "qwen2-untied",
  "llama-untied-biases",
  "llama3-scaling",
  "llama-linear-scaling",
  "opt-half",
  "opt-bfloat16-old-names",
  "opt-gelu",
];

describe("decoders", () => {
  for (const name of decoders) {
    it(`gives transformers' logits: ${name}`, async () => {
      const checkpoint = await openCheckpoint(join(fixtures, name));
      const { graph, shape } = buildDecoder(checkpoint, readConfig(name));
      assertClose(await logitsOf(graph, shape, golden(name, "input_ids")), golden(name, "logits"));
    });
  }
});

describe("encoders", () => {
  for (const name of ["deit", "vit-mae"]) {
    it(`gives transformers' [CLS] states after every block: ${name}`, async () => {
      const session = await openSession(
        encodeOnnx(buildEncoder(await openCheckpoint(join(fixtures, name)), readConfig(name))),
      );
      const { cls_states } = await session.run({ pixels: golden(name, "pixels") }, ["cls_states"]);
      await session.close();
      assert.ok(cls_states);
      assertClose(cls_states, golden(name, "states"));
    });
  }
});

describe("checkpoints that do not fit", () => {
  const wide: TensorSource = { type: "float32", shape: [3, 5], read: () => new Float32Array(15) };
  const cases: [string, Record<string, TensorSource | undefined>, RegExp][] = [
    ["a missing tensor", { "transformer.h.1.mlp.c_fc.bias": undefined }, /h\.1\.mlp\.c_fc\.bias is missing/],
    ["a surplus tensor", { "transformer.h.9.extra": wide }, /surplus tensor transformer\.h\.9\.extra/],
    [
      "a misshaped tensor",
      { "transformer.h.0.attn.c_attn.weight": wide },
      /transformer\.h\.0\.attn\.c_attn\.weight: expected shape \[32, 96\], got \[3, 5\]/,
    ],
  ];
  for (const [what, changes, message] of cases) {
    it(`are refused by the tensor's name: ${what}`, async () => {
      const checkpoint = changed(await openCheckpoint(join(fixtures, "gpt2")), changes);
      assert.throws(() => buildDecoder(checkpoint, readConfig("gpt2")), { name: "EpalmError", message });
    });
  }
});

describe("configs that are not supported", () => {
  const cases: [string, string, Config, RegExp][] = [
    [
      "an unknown architecture",
      "gpt2",
      { model_type: "mamba" },
      /'model_type': expected a decoder \(.*\), got 'mamba'/,
    ],
    [
      "an unknown activation",
      "gpt2",
      { activation_function: "swish9" },
      /activation_function: .*got 'swish9'/,
    ],
    [
      "attention scaled by layer",
      "gpt2",
      { scale_attn_by_inverse_layer_idx: true },
      /scale_attn_by_inverse_layer_idx/,
    ],
    [
      "an unknown rotary scaling",
      "llama3-scaling",
      { rope_parameters: { rope_type: "yarn", factor: 2 } },
      /got 'yarn'/,
    ],
    [
      "a scaling without its factor",
      "llama3-scaling",
      { rope_parameters: { rope_type: "linear" } },
      /needs 'factor'/,
    ],
    ["a sliding window", "qwen2-tied", { use_sliding_window: true }, /use_sliding_window/],
    ["an untied OPT", "opt-gelu", { tie_word_embeddings: false }, /tie_word_embeddings/],
    ["absurd sizes", "opt-gelu", { hidden_size: 1e12 }, /hidden_size/],
  ];
  for (const [what, name, change, message] of cases) {
    it(`are refused by the key: ${what}`, async () => {
      const checkpoint = await openCheckpoint(join(fixtures, name));
      const config = { ...readConfig(name), ...change };
      assert.throws(() => buildDecoder(checkpoint, config), { code: "unsupported_architecture", message });
    });
  }
});
