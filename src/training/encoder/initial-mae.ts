import type { MaeConfig } from "../../backbones/encoders/mae.js";
import { patchesPerSide } from "../../backbones/encoders/vit.js";
import { type Random, randomStreams } from "../../core/random.js";
import type { Tensor } from "../../tensor/tensor.js";
import { filled, normal, xavierUniform } from "../distributions.js";
import { type Initializer, InitialWeights } from "../initial-weights.js";
import { maeGraph } from "./mae-graph.js";
import { sinCosPositions } from "./positions.js";

/**
 * Initial weights of a masked autoencoder, as published (`models_mae.py`, `initialize_weights`): linears
 * Xavier-uniform, tokens normal with std 0.02, biases 0, positions fixed.
 */
export function initialMae(config: MaeConfig, seed: number): ReadonlyMap<string, Tensor> {
  const [random = Math.random] = randomStreams(seed, 1);
  const weights = new InitialWeights(maeInitializer(config, random), (name) => name.endsWith(".attn.qkv.weight"));
  // Building the graph requests, and thereby creates, every tensor.
  maeGraph(config, weights);
  return weights.tensors;
}

/** Initialises the tensors of a ViT and of a masked autoencoder's decoder by their published names. */
export function maeInitializer(config: Pick<MaeConfig, "image_size" | "patch_size">, random: Random): Initializer {
  return (name, shape) => {
    if (name.endsWith("pos_embed")) {
      return sinCosPositions(shape[2] ?? 0, patchesPerSide(config)).data;
    }
    if (name.endsWith("_token")) return normal(random, shape, 0.02);
    if (name.endsWith(".bias")) return filled(shape, 0);
    return /norm\d?\.weight$/.test(name) ? filled(shape, 1) : xavierUniform(random, shape);
  };
}
