import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decoderGraph } from "../../src/adapter/decoder-graph.js";
import type { DecoderShape } from "../../src/backbones/backbone.js";
import { encoderGraph } from "../../src/backbones/encoders/encoder-graph.js";
import { ParameterReader } from "../../src/backbones/parameters.js";
import { decoderArchitecture, encoderArchitecture } from "../../src/backbones/registry.js";
import type { Checkpoint } from "../../src/formats/checkpoint.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import { Weights } from "../../src/formats/weights.js";
import { EMPTY_TIME, KeyValueCache } from "../../src/generation/key-value-cache.js";
import { stepInputs } from "../../src/generation/step-inputs.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Graph } from "../../src/graph/ir.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession } from "../../src/runtime/session.js";
import type { Tensor, TensorSource } from "../../src/tensor/tensor.js";

/** Tiny models with results of transformers, written by test/fixtures/backbones/make_fixtures.py. */
const fixtures = "test/fixtures/backbones";

/** Largest difference divided by the largest expected value: float32 with another order of summation. */
const TOLERANCE = 1e-5;

export type Config = Record<string, unknown>;

export function readConfig(name: string): Config {
  return JSON.parse(readFileSync(join(fixtures, name, "config.json"), "utf8")) as Config;
}

export function openWeights(name: string): Checkpoint {
  return openSafetensors(join(fixtures, name, "model.safetensors"));
}

export function golden(name: string, key: string): Tensor {
  const source = openSafetensors(join(fixtures, name, "golden.safetensors")).tensors.get(key);
  assert.ok(source, `${name} has ${key}`);
  return { type: source.type, shape: source.shape, data: source.read() };
}

export interface BuiltDecoder {
  readonly graph: Graph;
  readonly shape: DecoderShape;
}

/** Builds a decoder; every tensor of the checkpoint must be used or known to be unused. */
export function buildDecoder(checkpoint: Checkpoint, config: Config): BuiltDecoder {
  const architecture = decoderArchitecture(String(config.model_type), checkpoint.path);
  const weights = new Weights(checkpoint, { rename: architecture.rename });
  const g = new GraphBuilder("decoder");
  const backbone = architecture.build(config, new ParameterReader(g, weights));
  const graph = decoderGraph(g, backbone);
  weights.finish();
  return { graph, shape: backbone.shape };
}

/** Builds an encoder with the same requirement. The config can be computed from the weights. */
export function buildEncoder(checkpoint: Checkpoint, config: Config | ((weights: Weights) => Config)): Graph {
  const modelType = typeof config === "function" ? "vit" : String(config.model_type);
  const architecture = encoderArchitecture(modelType, checkpoint.path);
  const weights = new Weights(checkpoint, { rename: architecture.rename });
  const g = new GraphBuilder("encoder");
  const known = typeof config === "function" ? config(weights) : config;
  const graph = encoderGraph(g, architecture.build(known, new ParameterReader(g, weights)));
  weights.finish();
  return graph;
}

/** Logits of all tokens of texts of equal length, without perception, [B * T, V]. */
export async function logitsOf({ graph, shape }: BuiltDecoder, ids: Tensor): Promise<Tensor> {
  const [batch = 0, length = 0] = ids.shape;
  const scheduled = Array.from({ length: batch }, (_, row) => {
    const text = Array.from(ids.data.slice(row * length, (row + 1) * length) as BigInt64Array, Number);
    return {
      sequence: { context: {}, text, cached: 0 },
      active: true,
      needs: { kind: "targets", tokens: text } as const,
    };
  });
  const { feeds } = stepInputs(scheduled, shape, EMPTY_TIME, 1);
  const session = await openSession(encodeOnnx(graph), { threads: 1 });
  const cache = new KeyValueCache(shape).feeds(0, batch, true);
  const { logits } = await session.run({ ...feeds, ...cache }, ["logits"]);
  await session.close();
  assert.ok(logits);
  return logits;
}

/** [CLS] states after every block, [B, depth, dv]. */
export async function statesOf(graph: Graph, input: Tensor): Promise<Tensor> {
  const [{ name } = { name: "" }] = graph.inputs;
  const session = await openSession(encodeOnnx(graph), { threads: 1 });
  const { cls_states } = await session.run({ [name]: input }, ["cls_states"]);
  await session.close();
  assert.ok(cls_states);
  return cls_states;
}

export function assertClose(found: Tensor, expected: Tensor): void {
  assert.equal(found.data.length, expected.data.length);
  const largest = (expected.data as Float32Array).reduce((size, value) => Math.max(size, Math.abs(value)), 0);
  (expected.data as Float32Array).forEach((value, index) => {
    const difference = Math.abs(Number(found.data[index]) - value) / largest;
    assert.ok(difference <= TOLERANCE, `element ${index}: ${found.data[index]}, expected ${value}`);
  });
}

/** A checkpoint with some tensors replaced or, if undefined, removed. */
export function changed(
  checkpoint: Checkpoint,
  changes: Readonly<Record<string, TensorSource | undefined>>,
): Checkpoint {
  const tensors = new Map(checkpoint.tensors);
  for (const [name, source] of Object.entries(changes)) {
    if (source) tensors.set(name, source);
    else tensors.delete(name);
  }
  return { ...checkpoint, tensors };
}

/** A checkpoint with renamed tensors. */
export function renamed(checkpoint: Checkpoint, rename: (name: string) => string): Checkpoint {
  const tensors = new Map(Array.from(checkpoint.tensors, ([name, source]) => [rename(name), source]));
  return { ...checkpoint, tensors };
}

export const zeros = (...shape: number[]): TensorSource => ({
  type: "float32",
  shape,
  read: () => new Float32Array(shape.reduce((count, dim) => count * dim, 1)),
});

/**
 * Tiny decoders whose layers or heads differ in windows, positions, norms, caps or order; texts are longer than the
 * windows.
 */
export const variedDecoders = [
  "qwen2-window",
  "qwen3-tied",
  "qwen3-yarn-window",
  "mistral-window",
  "smollm3",
  "smollm3-window",
  "gemma2",
  "gemma3-text",
  "gemma3-composite",
  "gpt-neox",
  "gpt-neox-sequential",
  "gptj",
  "bloom",
  "bloom-five-heads",
  "phi3-window",
  "phi4-longrope",
  "llama-dynamic",
  "mistral-yarn",
  "qwen2-longrope",
];
