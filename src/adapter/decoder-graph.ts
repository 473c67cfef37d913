import type { DecoderBackbone } from "../backbones/backbone.js";
import { memoized } from "../core/memoized.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Graph, Value } from "../graph/ir.js";
import { type HeadLayout, insideWindow, visibilityBias } from "../layers/attention.js";

/**
 * One graph for prompts and for next tokens, for any adapter and any mix of rows.
 *
 * In each step, a sequence contributes a run of tokens that are not in the cache yet: the perceptual slot, soft
 * tokens, text and padding. Perceptual states, soft tokens and the attention mask are inputs, so the sequences of a
 * step may be at different positions and use different adapters or none.
 *
 * Inputs (B `batch`, T `step`, C `past`, L layers, G key/value heads):
 * - `input_ids` [B, T] int64: text tokens are below V; V + j is soft token j; ignored at the perceptual slot.
 * - `position_ids` [B, T] int64: positions of text tokens, from zero.
 * - `visible` [B, T, C + T] bool: whether a token of this step attends to a key; cached keys come first.
 * - `perception_keys` [B, C + T] bool: which keys belong to the perceptual slot.
 * - `perception_visible` [B, L] bool: the layers at which the slot exists; below them, no token attends to it.
 * - `perception_overwrites` [B, L] bool: the layers at whose entry the slot is overwritten.
 * - `perception_states` [B, L, d]: the states that overwrite it.
 * - `soft_prompt` [`soft`, E]: the soft tokens of all sequences.
 * - `past_keys.I`, `past_values.I` [B, G, C, headSize] for each layer I; C may be 0.
 * - `scored_rows` [`scored`] int64: the tokens whose logits are computed, as sequence * T + column.
 * - `target_ids` [`scored`] int64: for each of them, a token whose logit is returned.
 * - `top_count` [1] int64: the number of most probable tokens to return.
 *
 * Outputs:
 * - `top_logits`, `top_ids` [`scored`, `top`]: the largest logits, in descending order, and their tokens.
 * - `log_normalizer` [`scored`]: logsumexp of all logits; a logit minus this value is a log-probability.
 * - `target_logits` [`scored`]
 * - `logits` [`scored`, V]
 * - `new_keys_values` [B, 2 * L * G, T, headSize]: keys of layer 0, its values, keys of layer 1, …
 */
export function decoderGraph(g: GraphBuilder, backbone: DecoderBackbone): Graph {
  const { layers, width, embeddingWidth, attention, vocabulary } = backbone.shape;
  const ids = g.input("input_ids", "int64", ["batch", "step"]);
  const positions = g.input("position_ids", "int64", ["batch", "step"]);
  const visible = g.input("visible", "bool", ["batch", "step", "past+step"]);
  const perceptionKeys = g.input("perception_keys", "bool", ["batch", "past+step"]);
  const perceptionVisible = g.input("perception_visible", "bool", ["batch", layers]);
  const overwrites = g.input("perception_overwrites", "bool", ["batch", layers]);
  const states = g.input("perception_states", "float32", ["batch", layers, width]);
  const prompt = g.input("soft_prompt", "float32", ["soft", embeddingWidth]);
  const cacheShape = ["batch", attention.keyHeads, "past", attention.headSize];
  const past = Array.from({ length: layers }, (_, layer) => ({
    keys: g.input(`past_keys.${layer}`, "float32", cacheShape),
    values: g.input(`past_values.${layer}`, "float32", cacheShape),
  }));

  const isText = g.less(ids, g.integer(vocabulary));
  const sizes = g.concat([g.sizeOf(past[0]?.keys ?? ids, 2), g.sizeOf(ids, 1)], 0);
  const each = new Array<number>(layers).fill(1);
  const existsAt = g.split(g.unsqueeze(perceptionVisible, 2, 3), each, 1);
  const [, slot] = g.splitDynamic(perceptionKeys, sizes, ["past", "step"], 1);
  const overwriteAt = g.split(g.and(g.unsqueeze(slot, 2), g.unsqueeze(overwrites, 1)), each, 2);
  const stateAt = g.split(states, each, 1);
  const angles = backbone.angles?.(positions);
  const masksOf = memoized((window: number | undefined) =>
    windowMasks(g, { visible, perceptionKeys, slot }, attention, window),
  );

  let hidden = backbone.enter(embedTokens(g, backbone, ids, isText, prompt), positions, isText);
  const cache: Value[] = [];
  for (let layer = 0; layer < layers; layer++) {
    g.scope(`layers.${layer}`, () => {
      const entering = g.where(overwriteAt[layer] as Value, stateAt[layer] as Value, hidden);
      const { withPerception, withoutPerception } = masksOf(backbone.window?.(layer));
      const bias = g.where(existsAt[layer] as Value, withPerception, withoutPerception);
      const { keys, values } = past[layer] as { keys: Value; values: Value };
      const output = backbone.layer(layer, entering, { bias, past: { keys, values, sizes }, angles: angles?.[layer] });
      cache.push(output.keysValues.keys, output.keysValues.values);
      hidden = output.hidden;
    });
  }
  g.output("new_keys_values", g.concat(cache, 1));
  scoreTokens(g, backbone, hidden);
  return g.finish();
}

/** Biases of the attention scores for layers at which the perceptual slot exists, and for those below. */
interface Masks {
  readonly withPerception: Value;
  readonly withoutPerception: Value;
}

interface Visibility {
  readonly visible: Value;
  readonly perceptionKeys: Value;
  /** [B, T] bool: the tokens of this step that are the perceptual slot; a slot attends without a window. */
  readonly slot: Value;
}

function windowMasks(
  g: GraphBuilder,
  { visible, perceptionKeys, slot }: Visibility,
  attention: HeadLayout,
  window: number | undefined,
): Masks {
  const inside =
    window === undefined
      ? visible
      : g.and(visible, g.or(g.unsqueeze(slot, 2), insideWindow(g, visible, window, perceptionKeys)));
  const onlyOthers = g.and(inside, g.not(g.unsqueeze(perceptionKeys, 1)));
  return {
    withPerception: visibilityBias(g, inside, attention),
    withoutPerception: visibilityBias(g, onlyOthers, attention),
  };
}

/** Embeds text tokens from the table and soft tokens from the prompt: [B, T, E]. */
function embedTokens(g: GraphBuilder, backbone: DecoderBackbone, ids: Value, isText: Value, prompt: Value): Value {
  const first = g.integer(backbone.shape.vocabulary);
  const text = backbone.embed(g.where(isText, ids, g.integer(0)));
  const soft = g.gather(prompt, g.maximum(g.subtract(ids, first), g.integer(0)));
  return g.where(g.unsqueeze(isText, 2), text, soft);
}

/** Adds the logits of the scored tokens and the outputs derived from them. */
function scoreTokens(g: GraphBuilder, backbone: DecoderBackbone, hidden: Value): void {
  const rows = g.input("scored_rows", "int64", ["scored"]);
  const targets = g.input("target_ids", "int64", ["scored"]);
  const count = g.input("top_count", "int64", [1]);
  const logits = backbone.head(g.gather(g.reshape(hidden, [-1, backbone.shape.width]), rows));
  const top = g.topK(logits, count);
  g.output("logits", logits);
  g.output("top_logits", top.values);
  g.output("top_ids", top.indices);
  g.output("log_normalizer", logsumexp(g, logits, g.slice(top.values, 1, 0, 1), g.slice(top.indices, 1, 0, 1)));
  g.output("target_logits", g.squeeze(g.gatherColumns(logits, g.unsqueeze(targets, 1)), 1));
}

/**
 * log(sum(exp(logits))) of each row [N, V] -> [N], computed from the largest logit and its probability. The softmax
 * is several times faster than ONNX Runtime's ReduceLogSumExp, and the largest probability is never too small for a
 * logarithm.
 */
function logsumexp(g: GraphBuilder, logits: Value, bestLogit: Value, bestId: Value): Value {
  const probability = g.gatherColumns(g.softmax(logits), bestId);
  return g.squeeze(g.subtract(bestLogit, g.logarithm(probability)), 1);
}
