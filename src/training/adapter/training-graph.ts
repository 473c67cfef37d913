import {
  type AdapterSettings,
  type ClsInjectionSettings,
  perception,
  softPrompt,
  type VisualTokenSettings,
} from "../../adapter/adapter.js";
import type { AdapterValues } from "../../adapter/adapter-values.js";
import type { AdapterWidths } from "../../adapter/adapter-widths.js";
import { injectionPlan, visualTokenPlan } from "../../adapter/injection-plan.js";
import { dropoutOf, patchDepths, visualTokenCount, visualTokens } from "../../adapter/visual-connector.js";
import { gradient } from "../../autodiff/gradient.js";
import type { DecoderBackbone, LayerContext } from "../../backbones/backbone.js";
import { memoized } from "../../core/memoized.js";
import type { GraphBuilder } from "../../graph/builder.js";
import { addDims } from "../../graph/dims.js";
import type { Graph, Value } from "../../graph/ir.js";
import { insideWindow, visibilityBias } from "../../layers/attention.js";
import type { RotaryAngles } from "../../layers/rotary.js";
import type { Shape } from "../../tensor/tensor.js";
import { smoothedLoss } from "../smoothed-loss.js";
import type { TrainingLayout } from "./training-batch.js";

export interface TrainingGraphOptions {
  readonly settings: AdapterSettings;
  readonly widths: AdapterWidths;
  /** Number of the encoder's [CLS] states. */
  readonly depth: number;
  /** Names and shapes of the trained tensors: inputs of the graph, each with a gradient among the outputs. */
  readonly trained: ReadonlyMap<string, Shape>;
  /** Fraction of each target's probability that is spread over the vocabulary. Default: 0. */
  readonly labelSmoothing?: number | undefined;
}

/** The rows of the training graph of an adapter, for a decoder with `layers` layers. */
export function trainingLayout(settings: AdapterSettings, { patches }: AdapterWidths, layers: number): TrainingLayout {
  const { promptLength: softTokens } = settings;
  if (!settings.connector) return { front: 1, softTokens, frontAtEnd: 1, slotSees: settings.perceptionSees };
  const front = patches ? visualTokenCount(settings.connector, patches) : 0;
  return { front, softTokens, frontAtEnd: settings.endLayer === layers ? front : 0 };
}

/**
 * Loss and gradients of an adapter in one graph. It has the same layers as the decoder graph, built from plain
 * operators. Rows are `[P soft, T text]`, with the F front tokens (the perceptual slot, or visual tokens) before them
 * at the layers where these exist. Logits are computed only where there is a target.
 *
 * Inputs (S = F + P + T): `cls_states` [B, depth, dv] or `patch_states` [B, D, N, dv]; `input_ids` [B, T];
 * `position_ids` and `has_position` [B, S]; `visible` bool [B, S, S]; with
 * dropout, `dropout_masks` [B, halves, tokens, width] (`Dropout`); `scored_rows` [N] (row * columns + column, of the
 * last layer), `target_ids` [N] and `target_weights` [N]; and the trained tensors by name. Outputs: `loss`, the
 * weighted sum of the targets' cross-entropies; `token_loss` [N]; and `gradient of NAME` for each trained tensor.
 */
export function trainingGraph(g: GraphBuilder, backbone: DecoderBackbone, options: TrainingGraphOptions): Graph {
  const forward = lossGraph(g, backbone, options);
  return gradient(forward, "loss", Array.from(options.trained.keys()));
}

/** The graph of `trainingGraph` without gradients, for measuring a loss. */
export function lossGraph(g: GraphBuilder, backbone: DecoderBackbone, options: TrainingGraphOptions): Graph {
  const { settings, widths, depth, trained } = options;
  const inputs = new Map(Array.from(trained, ([name, shape]) => [name, g.input(name, "float32", shape)]));
  const values: AdapterValues = (name) => inputs.get(name) ?? g.value(name);
  const layout = trainingLayout(settings, widths, backbone.shape.layers);
  const rows = rowsOf(g, backbone, layout, softPrompt(g, values, settings));
  const hidden = settings.connector
    ? withVisualTokens(g, backbone, rows, visualTokensOf(g, values, settings, widths), settings)
    : withSlot(g, backbone, rows, perceptionOf(g, values, settings, { depth, widths }), settings);
  weightedLoss(g, backbone, hidden, options.labelSmoothing ?? 0);
  return g.finish();
}

function perceptionOf(
  g: GraphBuilder,
  values: AdapterValues,
  settings: ClsInjectionSettings,
  { depth, widths }: Pick<TrainingGraphOptions, "depth" | "widths">,
): Value {
  return perception(g, g.input("cls_states", "float32", ["batch", depth, widths.encoder]), values, settings);
}

function visualTokensOf(
  g: GraphBuilder,
  values: AdapterValues,
  { connector }: VisualTokenSettings,
  widths: AdapterWidths,
): Value {
  const layout = widths.patches ?? { frames: 0, rows: 0, columns: 0 };
  const shape = ["batch", patchDepths(connector), layout.frames * layout.rows * layout.columns, widths.encoder];
  const states = g.input("patch_states", "float32", shape);
  const dropout = dropoutOf(connector, layout);
  const masks = dropout && g.input("dropout_masks", "float32", ["batch", ...dropout.shape]);
  return visualTokens(g, states, values, connector, widths, masks);
}

/** The rows of a batch below the layers that have front tokens. */
interface Rows {
  readonly layout: TrainingLayout;
  /** Soft tokens and text on entering the first layer, [B, P + T, d]. */
  readonly hidden: Value;
  /** [B, S] */
  readonly positions: Value;
  readonly hasPosition: Value;
  contextOf(layer: number, hasFront: boolean): LayerContext;
}

function rowsOf(g: GraphBuilder, backbone: DecoderBackbone, layout: TrainingLayout, prompt: Value | undefined): Rows {
  const width = addDims("text", layout.front + layout.softTokens);
  const ids = g.input("input_ids", "int64", ["batch", "text"]);
  const positions = g.input("position_ids", "int64", ["batch", width]);
  const hasPosition = g.input("has_position", "bool", ["batch", width]);
  const visible = g.input("visible", "bool", ["batch", width, width]);
  const text = backbone.embed(ids);
  const embeddings = prompt ? g.concat([g.repeatFor(g.unsqueeze(prompt, 0), text), text], 1) : text;
  const rest = (x: Value) => g.slice(x, 1, layout.front);
  return {
    layout,
    hidden: backbone.enter(embeddings, rest(positions), rest(hasPosition)),
    positions,
    hasPosition,
    contextOf: layerContexts(g, backbone, visible, positions, layout),
  };
}

/** Runs all layers, with the slot overwritten as planned: [B, S, d] */
function withSlot(
  g: GraphBuilder,
  backbone: DecoderBackbone,
  { hidden: below, contextOf }: Rows,
  states: Value,
  settings: ClsInjectionSettings,
): Value {
  const plan = injectionPlan(settings, backbone.shape.layers);
  let hidden = below;
  for (let layer = 0; layer < backbone.shape.layers; layer++) {
    hidden = g.scope(`layers.${layer}`, () => {
      const state = plan.stateAt[layer];
      const rest = layer > settings.startLayer ? g.slice(hidden, 1, 1) : hidden;
      const entering = state === undefined ? hidden : g.concat([g.slice(states, 1, state, state + 1), rest], 1);
      return backbone.layer(layer, entering, contextOf(layer, plan.visible[layer] ?? false)).hidden;
    });
  }
  return hidden;
}

/** Runs all layers; visual tokens [B, F, E] exist at those of the settings: [B, S or P + T, d] */
function withVisualTokens(
  g: GraphBuilder,
  backbone: DecoderBackbone,
  { layout, hidden: below, positions, hasPosition, contextOf }: Rows,
  tokens: Value,
  { startLayer, endLayer }: VisualTokenSettings,
): Value {
  const { layers } = backbone.shape;
  const plan = visualTokenPlan({ startLayer, endLayer }, layers);
  const front = (x: Value) => g.slice(x, 1, 0, layout.front);
  const entering = backbone.enter(tokens, front(positions), front(hasPosition));
  let hidden = below;
  for (let layer = 0; layer < layers; layer++) {
    hidden = g.scope(`layers.${layer}`, () => {
      if (layer === startLayer) hidden = g.concat([entering, hidden], 1);
      if (layer === endLayer) hidden = g.slice(hidden, 1, layout.front);
      return backbone.layer(layer, hidden, contextOf(layer, plan.visible[layer] ?? false)).hidden;
    });
  }
  return hidden;
}

/** The mask and the angles of each layer, with or without front tokens. Layers with equal ones share their values. */
function layerContexts(
  g: GraphBuilder,
  backbone: DecoderBackbone,
  visible: Value,
  positions: Value,
  { front, slotSees }: TrainingLayout,
) {
  const biasOf = (visible: Value) => visibilityBias(g, visible, backbone.shape.attention, { slopes: backbone.slopes });
  const angles = backbone.angles?.(positions);
  const hasSlot = slotSees !== undefined;
  const biases = memoized((window: number | undefined) => {
    const rows = hasSlot ? g.slice(visible, 1, front) : visible;
    const inside = window === undefined ? rows : insideWindow(g, rows, window);
    // A slot attends without a window.
    const all = hasSlot && window !== undefined ? g.concat([g.slice(visible, 1, 0, front), inside], 1) : inside;
    const rest = hasSlot ? inside : g.slice(inside, 1, front);
    return {
      withFront: memoized(() => biasOf(hasSlot && window === undefined ? visible : all)),
      withoutFront: memoized(() => biasOf(g.slice(rest, 2, front))),
    };
  });
  const anglesWithoutFront = memoized((all: RotaryAngles) => ({ ...all, rows: g.slice(all.rows, 1, front) }));
  return (layer: number, hasFront: boolean): LayerContext => {
    const own = angles?.[layer];
    const { withFront, withoutFront } = biases(backbone.window?.(layer));
    if (hasFront) return { bias: withFront(undefined), angles: own };
    return { bias: withoutFront(undefined), angles: own && anglesWithoutFront(own) };
  };
}

function weightedLoss(g: GraphBuilder, backbone: DecoderBackbone, hidden: Value, labelSmoothing: number): void {
  const rows = g.input("scored_rows", "int64", ["scored"]);
  const targets = g.input("target_ids", "int64", ["scored"]);
  const weights = g.input("target_weights", "float32", ["scored"]);
  const scores = backbone.head(g.gather(g.reshape(hidden, [-1, backbone.shape.width]), rows));
  const { loss, logProbabilities } = g.crossEntropy(scores, targets);
  const smoothed = smoothedLoss(g, loss, logProbabilities, labelSmoothing);
  g.output("token_loss", loss);
  g.output("loss", g.sum(g.multiply(smoothed, weights), [0], false));
}
