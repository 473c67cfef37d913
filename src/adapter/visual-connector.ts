import type { PatchLayout } from "../backbones/backbone.js";
import { EpalmError } from "../core/errors.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import { type ActivationName, activate } from "../layers/activation.js";
import { attention, splitHeads } from "../layers/attention.js";
import type { Shape } from "../tensor/tensor.js";
import { type AdapterValues, project } from "./adapter-values.js";
import type { AdapterWidths } from "./adapter-widths.js";
import { type PatchSelection, selectedPatches, selectPatches } from "./patch-selection.js";

/** Connectors that turn the patch states of an encoder into visual tokens, which have the width of embeddings. */
export type VisualConnector = PrefixConnector | QueriesConnector;

/**
 * A projection of the states of the last block. LiMBeR (arXiv 2209.15162), LLaVA (arXiv 2304.08485) and SmolVLM (arXiv
 * 2504.05299) have connectors of this kind.
 */
export interface PrefixConnector {
  readonly kind: "prefix";
  readonly states: PatchSelection;
  /** One linear, or linear -> activation -> linear. */
  readonly projection: "linear" | "mlp";
  /** Default: `gelu`. */
  readonly activation?: ActivationName | undefined;
  /** Whether a trained embedding follows the projected states, such as the newline of LLaVA-NeXT. Default: false. */
  readonly ending?: boolean | undefined;
  /** Whether a trained layer norm follows. */
  readonly norm: boolean;
}

/**
 * A small transformer over patch states and n learned queries, whose outputs are projected: the mapper of MAPL (arXiv
 * 2210.07179; width 256, 4 layers, 8 heads, 32 queries) and the query pooling of DePALM (arXiv 2403.13499; width 1024,
 * states of the last four blocks).
 */
export interface QueriesConnector {
  readonly kind: "queries";
  /** n: number of visual tokens. */
  readonly queries: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Number of the encoder's last blocks whose states it takes. */
  readonly depths: number;
  /** Probability with which training sets each value that a layer adds to zero. Default: 0. DePALM: 0.1. */
  readonly dropout?: number | undefined;
  /** Whether a trained layer norm follows. */
  readonly norm: boolean;
}

/** torch's default, for all norms of connectors. */
const EPSILON = 1e-5;

/** Width of a transformer layer's feed-forward, in relation to its own. */
const FEED_FORWARD = 4;

/** The number of the encoder's last blocks whose patch states a connector takes. */
export function patchDepths(connector: VisualConnector): number {
  return connector.kind === "queries" ? connector.depths : 1;
}

/** The number of visual tokens that a connector computes from one medium. */
export function visualTokenCount(connector: VisualConnector, layout: PatchLayout): number {
  if (connector.kind === "queries") return connector.queries;
  return selectedPatches(connector.states, layout).count + (connector.ending ? 1 : 0);
}

/** Dropout in the layers of a connector while it is trained. */
export interface Dropout {
  readonly probability: number;
  /** Shape of an example's masks, by which what each half of each layer adds to its input is multiplied. */
  readonly shape: readonly [halves: number, tokens: number, width: number];
}

/** Undefined for connectors without dropout. */
export function dropoutOf(connector: VisualConnector, layout: PatchLayout): Dropout | undefined {
  if (connector.kind !== "queries" || !connector.dropout) return undefined;
  const { queries, depths, layers, width } = connector;
  const tokens = queries + depths * layout.frames * layout.rows * layout.columns;
  return { probability: connector.dropout, shape: [2 * layers, tokens, width] };
}

/** Names and shapes of a connector's tensors. @throws `invalid_adapter` if the encoder returns no fitting states */
export function connectorShapes(connector: VisualConnector, widths: AdapterWidths): ReadonlyMap<string, Shape> {
  const shapes = new Map<string, Shape>();
  const norm = (name: string, width: number) => {
    shapes.set(`${name}.weight`, [width]);
    shapes.set(`${name}.bias`, [width]);
  };
  const linear = (name: string, inputs: number, outputs: number) => {
    shapes.set(`${name}.weight`, [outputs, inputs]);
    shapes.set(`${name}.bias`, [outputs]);
  };
  const { encoder, embedding } = widths;
  if (connector.kind === "prefix") {
    const { joined } = selectedPatches(connector.states, layoutOf(widths));
    linear("connector.0", encoder * joined, embedding);
    if (connector.projection === "mlp") linear("connector.2", embedding, embedding);
    if (connector.ending) shapes.set("connector.ending", [embedding]);
  } else {
    const { width, layers, queries, depths } = connector;
    linear("connector.input", encoder, width);
    if (depths > 1) shapes.set("connector.depths", [depths, width]);
    shapes.set("connector.queries", [queries, width]);
    for (let layer = 0; layer < layers; layer++) {
      const name = `connector.layers.${layer}`;
      norm(`${name}.norm1`, width);
      shapes.set(`${name}.attn.qkv.weight`, [3 * width, width]);
      linear(`${name}.attn.proj`, width, width);
      norm(`${name}.norm2`, width);
      linear(`${name}.mlp.fc1`, width, FEED_FORWARD * width);
      linear(`${name}.mlp.fc2`, FEED_FORWARD * width, width);
    }
    norm("connector.output_norm", width);
    linear("connector.output", width, embedding);
  }
  if (connector.norm) norm("connector.norm", embedding);
  return shapes;
}

/**
 * Patch states [B, D, N, dv] of the encoder's last D blocks -> visual tokens [B, n, E].
 *
 * @param masks [B, halves, tokens, width] of `Dropout`, while training
 */
export function visualTokens(
  g: GraphBuilder,
  states: Value,
  values: AdapterValues,
  connector: VisualConnector,
  widths: AdapterWidths,
  masks?: Value,
): Value {
  const tokens =
    connector.kind === "prefix"
      ? projected(g, g.squeeze(states, 1), values, connector, layoutOf(widths))
      : queried(g, states, values, connector, masks);
  return connector.norm ? norm(g, tokens, values, "connector.norm") : tokens;
}

/** [B, N, dv] -> [B, n, E] */
function projected(
  g: GraphBuilder,
  states: Value,
  values: AdapterValues,
  { states: selection, projection, activation = "gelu", ending }: PrefixConnector,
  layout: PatchLayout,
): Value {
  const first = project(g, selectPatches(g, states, selection, layout), values, "connector.0");
  const tokens = projection === "linear" ? first : project(g, activate(g, activation, first), values, "connector.2");
  if (!ending) return tokens;
  const last = g.reshape(values("connector.ending"), [1, 1, Number(tokens.shape.at(-1))]);
  return g.concat([tokens, g.repeatFor(last, tokens)], 1);
}

/** [B, D, N, dv] -> [B, n, E]: pre-norm transformer layers, in which queries and states attend to each other. */
function queried(
  g: GraphBuilder,
  states: Value,
  values: AdapterValues,
  connector: QueriesConnector,
  masks: Value | undefined,
): Value {
  const { queries, width, layers, depths } = connector;
  const projected = project(g, states, values, "connector.input");
  const placed = depths > 1 ? g.add(projected, g.unsqueeze(values("connector.depths"), 1)) : projected;
  const patches = Number(states.shape[2]);
  const given = g.reshape(placed, [0, depths * patches, width]);
  let x = g.concat([g.repeatFor(g.unsqueeze(values("connector.queries"), 0), given), given], 1);
  for (let layer = 0; layer < layers; layer++) {
    const drop = (added: Value, half: number) =>
      masks ? g.multiply(added, g.squeeze(g.slice(masks, 1, 2 * layer + half, 2 * layer + half + 1), 1)) : added;
    x = g.scope(`connector.layers.${layer}`, () =>
      transformerLayer(g, x, values, `connector.layers.${layer}`, connector, drop),
    );
  }
  const answers = norm(g, g.slice(x, 1, 0, queries), values, "connector.output_norm");
  return project(g, answers, values, "connector.output");
}

/** x [B, T, width] -> [B, T, width]. A bias of the keys would have no effect, so there is none before the attention. */
function transformerLayer(
  g: GraphBuilder,
  x: Value,
  values: AdapterValues,
  name: string,
  { width, heads }: QueriesConnector,
  drop: (added: Value, half: number) => Value,
): Value {
  const layout = { heads, keyHeads: heads, headSize: width / heads };
  const normed = norm(g, x, values, `${name}.norm1`);
  const joined = g.matmul(normed, g.transpose(values(`${name}.attn.qkv.weight`), [1, 0]));
  const [q, keys, byHead] = g.split(splitHeads(g, joined, layout.headSize), [heads, heads, heads], 1);
  const mixed = attention(g, q, { keys, values: byHead }, layout);
  const attended = g.add(x, drop(project(g, mixed, values, `${name}.attn.proj`), 0));
  const inner = project(g, norm(g, attended, values, `${name}.norm2`), values, `${name}.mlp.fc1`);
  return g.add(attended, drop(project(g, g.gelu(inner, "none"), values, `${name}.mlp.fc2`), 1));
}

function norm(g: GraphBuilder, x: Value, values: AdapterValues, name: string): Value {
  return g.layerNorm(x, values(`${name}.weight`), values(`${name}.bias`), EPSILON);
}

function layoutOf({ patches }: AdapterWidths): PatchLayout {
  if (patches) return patches;
  throw new EpalmError("invalid_adapter", "connector: takes patch states, but the model's encoder returns none");
}
