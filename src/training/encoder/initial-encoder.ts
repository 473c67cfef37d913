import { encoderArchitecture } from "../../backbones/registry.js";
import { type Random, randomStreams } from "../../core/random.js";
import { GraphBuilder } from "../../graph/builder.js";
import type { Tensor } from "../../tensor/tensor.js";
import { filled, normal, xavierUniform } from "../distributions.js";
import { type Initializer, InitialWeights } from "../initial-weights.js";
import { TrainedParameters } from "../trained-parameters.js";
import type { EncoderConfig } from "./classifier-graph.js";

/**
 * Initial weights of an encoder of any modality.
 *
 * @param start tensors to use unchanged; all others are random
 *
 * @example
 * ```ts
 * import { initialEncoder, readEncoderFolder } from "epalm/fedmae";
 * const { config } = await readEncoderFolder("encoder");
 * const weights = initialEncoder({ ...config, model_type: "vit" }, 0);
 * ```
 */
export function initialEncoder(
  config: EncoderConfig,
  seed: number,
  start: ReadonlyMap<string, Tensor> = new Map(),
): ReadonlyMap<string, Tensor> {
  const [random = Math.random] = randomStreams(seed, 1);
  const weights = new InitialWeights(patchInitializer(random), (name) => name.endsWith("attn.qkv.weight"));
  const g = new GraphBuilder("initial-weights");
  const backbone = encoderArchitecture(config.model_type, "config").build(config, new TrainedParameters(g, weights));
  // Building the graph requests, and thereby creates, every tensor.
  backbone.states(g.input("input", "float32", ["batch", ...backbone.inputShape]));
  return new Map(Array.from(weights.tensors, ([name, tensor]) => [name, start.get(name) ?? tensor]));
}

/** As published for transformers on patches: linears Xavier-uniform, tokens and positions with std 0.02. */
function patchInitializer(random: Random): Initializer {
  return (name, shape) => {
    if (/(_token|_embed)$/.test(name)) return normal(random, shape, 0.02);
    if (name.endsWith(".bias")) return filled(shape, 0);
    return /norm\d?\.weight$/.test(name) ? filled(shape, 1) : xavierUniform(random, shape);
  };
}
