import { gradient } from "../../src/autodiff/gradient.js";
import { opt } from "../../src/backbones/opt.js";
import type { WeightSource } from "../../src/backbones/parameters.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Graph } from "../../src/graph/ir.js";
import { visibilityBias } from "../../src/layers/attention.js";
import { TrainedParameters } from "../../src/training/trained-parameters.js";

/**
 * Loss and gradients of a language model with all of its weights. Inputs: `input_ids` and `position_ids` int64 [B, T];
 * `visible` bool [B, T, T]; `target_ids` int64 [B * T]; `target_weights` [B * T]. Outputs: `loss`, the weighted sum of
 * the cross-entropies; `token_loss` [B * T]; and `gradient of NAME` for every weight.
 */
export function languageModelGraph(config: unknown, weights: WeightSource): Graph {
  const g = new GraphBuilder("language-model");
  const parameters = new TrainedParameters(g, weights);
  const model = opt(config, parameters);
  const ids = g.input("input_ids", "int64", ["batch", "text"]);
  const positions = g.input("position_ids", "int64", ["batch", "text"]);
  const visible = g.input("visible", "bool", ["batch", "text", "text"]);
  const targets = g.input("target_ids", "int64", ["batch*text"]);
  const targetWeights = g.input("target_weights", "float32", ["batch*text"]);
  const bias = visibilityBias(g, visible, model.shape.attention);
  const isText = g.less(g.integer(-1), positions);
  let hidden = model.enter(model.embed(ids), positions, isText);
  for (let index = 0; index < model.shape.layers; index++) {
    hidden = g.scope(`layers.${index}`, () => model.layer(index, hidden, { bias }).hidden);
  }
  const scores = model.head(g.reshape(hidden, [-1, model.shape.width]));
  const { loss } = g.crossEntropy(scores, targets);
  g.output("token_loss", loss);
  g.output("loss", g.sum(g.multiply(loss, targetWeights), [0], false));
  return gradient(g.finish(), "loss", parameters.trained);
}
