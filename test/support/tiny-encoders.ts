import { encoderGraph } from "../../src/backbones/encoders/encoder-graph.js";
import { ParameterReader } from "../../src/backbones/parameters.js";
import { encoderArchitecture } from "../../src/backbones/registry.js";
import { weightsInMemory } from "../../src/backbones/weights-in-memory.js";
import { randomStreams } from "../../src/core/random.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { normal } from "../../src/training/distributions.js";
import { InitialWeights } from "../../src/training/initial-weights.js";
import { statesOf } from "./tiny-backbones.js";

/** Tiny encoders with random weights. */

export const vitConfig = {
  model_type: "vit",
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 32,
  image_size: 32,
  patch_size: 16,
  num_channels: 3,
  hidden_act: "gelu",
  layer_norm_eps: 1e-6,
  qkv_bias: true,
} as const;

interface EncoderConfig {
  readonly model_type: string;
}

/** Random values for all tensors of an encoder. */
export function randomWeights(config: EncoderConfig): ReadonlyMap<string, Tensor> {
  const [random = Math.random] = randomStreams(3, 1);
  const weights = new InitialWeights(
    (_, shape) => normal(random, shape, 0.3),
    (name) => name.endsWith("qkv.weight"),
  );
  const g = new GraphBuilder("encoder");
  const backbone = encoderArchitecture(config.model_type, "config").build(config, new ParameterReader(g, weights));
  encoderGraph(g, backbone);
  return weights.tensors;
}

/** The encoder's [CLS] states, [B, depth, dv]. */
export function encoderStates(
  config: EncoderConfig,
  tensors: ReadonlyMap<string, Tensor>,
  input: Tensor,
): Promise<Tensor> {
  const g = new GraphBuilder("encoder");
  const parameters = new ParameterReader(g, weightsInMemory(tensors, "test"));
  return statesOf(encoderGraph(g, encoderArchitecture(config.model_type, "config").build(config, parameters)), input);
}
