import type { DecoderBackbone } from "../backbones/backbone.js";
import { memoized } from "../core/memoized.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Graph, Value } from "../graph/ir.js";
import { insideWindow, visibilityBias } from "../layers/attention.js";

/** The input that graphs without visual tokens lack; they were built by earlier versions. */
export const VISUAL_TOKENS_INPUT = "has_position";

/**
 * One graph for prompts and for next tokens, for any adapter and any mix of rows.
 *
 * In each step, a sequence contributes a run of tokens that are not in the cache yet: the perceptual slot or visual
 * tokens, soft tokens, text and padding. All of them except text are inputs, as is the attention mask, so the
 * sequences of a step may be at different positions and use different adapters or none.
 *
 * Perceptual tokens exist only at some layers. Such a token is either the slot, whose states are overwritten layer by
 * layer, or a visual token that enters at an inner layer, as it would have entered the first one. Visual tokens that
 * exist at all layers are not among the perceptual tokens: they are embeddings that are given instead of looked up.
 *
 * Inputs (B `batch`, T `step`, C `past`, L layers, G key/value heads):
 * - `input_ids` [B, T] int64: text tokens are below V; V + j is given embedding j; a slot has an id below V.
 * - `has_position` [B, T] bool: which tokens have a position: text and visual tokens, but not soft tokens.
 * - `position_ids` [B, T] int64: their positions, from zero.
 * - `visible` [B, T, C + T] bool: whether a token of this step attends to a key; cached keys come first.
 * - `perception_keys` [B, C + T] bool: which keys belong to perceptual tokens.
 * - `perception_visible` [B, L] bool: the layers at which they exist; at the others, no token attends to them.
 * - `perception_overwrites` [B, L] bool: the layers at whose entry they are overwritten.
 * - `perception_states` [B, L, d]: the states that overwrite a slot; visual tokens get their own embedding.
 * - `soft_prompt` [`soft`, E]: the given embeddings of all sequences: soft tokens and visual tokens.
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
  const hasPosition = g.input(VISUAL_TOKENS_INPUT, "bool", ["batch", "step"]);
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
  const [, perceptual] = g.splitDynamic(perceptionKeys, sizes, ["past", "step"], 1);
  const slot = g.and(perceptual, isText);
  const overwriteAt = g.split(g.and(g.unsqueeze(perceptual, 2), g.unsqueeze(overwrites, 1)), each, 2);
  const isSlot = g.unsqueeze(slot, 2);
  const stateAt = g.split(states, each, 1);
  const angles = backbone.angles?.(positions);
  const masksOf = memoized((window: number | undefined) =>
    windowMasks(g, backbone, { visible, perceptionKeys, slot }, window),
  );

  const entered = backbone.enter(embedTokens(g, backbone, ids, isText, prompt), positions, hasPosition);
  let hidden = entered;
  const cache: Value[] = [];
  for (let layer = 0; layer < layers; layer++) {
    g.scope(`layers.${layer}`, () => {
      const overwritten = layer === 0 ? (stateAt[layer] as Value) : g.where(isSlot, stateAt[layer] as Value, entered);
      const entering = g.where(overwriteAt[layer] as Value, overwritten, hidden);
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
  { shape: { attention }, slopes }: DecoderBackbone,
  { visible, perceptionKeys, slot }: Visibility,
  window: number | undefined,
): Masks {
  const inside =
    window === undefined
      ? visible
      : g.and(visible, g.or(g.unsqueeze(slot, 2), insideWindow(g, visible, window, perceptionKeys)));
  const onlyOthers = g.and(inside, g.not(g.unsqueeze(perceptionKeys, 1)));
  return {
    withPerception: visibilityBias(g, inside, attention, { slopes, slotKeys: perceptionKeys }),
    withoutPerception: visibilityBias(g, onlyOthers, attention, { slopes }),
  };
}

/** Embeds text tokens from the table and takes given embeddings from the prompt: [B, T, E]. */
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
