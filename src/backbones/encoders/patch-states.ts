import type { Modality } from "../../core/modality.js";
import { GraphBuilder } from "../../graph/builder.js";
import type { Graph, Node, Value } from "../../graph/ir.js";
import type { PatchLayout } from "../backbone.js";

/** Name of the output with the patch states after a block, counted from 0. */
export function patchOutput(block: number): string {
  return `patch_states.${block}`;
}

/** What the patch states of an encoder are. */
export interface PatchForm {
  /** Whether they pass the encoder's final norm. LLaVA takes them before it. */
  readonly normed: boolean;
  /** Number of tokens before them that are left out. Default: all that are no patches. */
  readonly skipped?: number | undefined;
}

/** As connectors that epalm trains take them. */
export const usualPatches: PatchForm = { normed: true };

/** An encoder graph that also returns the patch states after each block. */
export interface PatchGraph {
  readonly graph: Graph;
  readonly layout: PatchLayout;
}

/**
 * Adds the outputs `patch_states.I` [batch, N, dv] to an encoder graph: the states of all patches after block I, each
 * passed through the encoder's final norm (see `PatchForm`), in the order of `PatchLayout`. States of audio are
 * averaged over frequencies, so that there is one per point in time. With more or fewer tokens than patches, the layout
 * is one row.
 *
 * The graph is derived from the stored one rather than built from a checkpoint, so that model folders of any age and
 * precision can be used, and users whose adapters take [CLS] states never compute them.
 *
 * @returns undefined if the encoder does not return one state per block (attention pooling), or norms only
 *   the mean of its patches (fine-tuned VideoMAE, classifiers of EVA-02)
 */
export function withPatchStates(
  graph: Graph,
  modality: Modality,
  { normed, skipped }: PatchForm = usualPatches,
): PatchGraph | undefined {
  const found = findNorms(graph);
  if (!found) return undefined;
  const g = GraphBuilder.extending(graph, "patches");
  const blocks = found.norms.map((norm) => tokensOf(graph, g, norm));
  const arrangements = blocks.map((block) => {
    const usual = arrangementOf(graph, modality, block, found.isPerFrame);
    return skipped === undefined || skipped === usual.special ? usual : inOneRow(block, skipped);
  });
  const [first] = arrangements;
  if (!first) return undefined;
  for (const [index, { tokens, norm }] of blocks.entries()) {
    const { special, arrange } = arrangements[index] ?? first;
    const [scale = "", bias = ""] = norm.inputs.slice(1);
    const epsilon = Number(norm.attributes.epsilon?.value ?? 1e-5);
    const patches = special === 0 ? tokens : g.slice(tokens, 1, special);
    const states = normed ? g.layerNorm(patches, g.value(scale), g.value(bias), epsilon) : patches;
    g.output(patchOutput(index), arrange(g, states));
  }
  return { graph: g.finish(), layout: first.layout };
}

/** The final norm after each block; `isPerFrame` if a batch of frames is averaged after them. */
function findNorms(graph: Graph): { readonly norms: readonly Node[]; readonly isPerFrame: boolean } | undefined {
  const producers = new Map(graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  const descend = (name: string | undefined, through: readonly string[]): Node | undefined => {
    let node = producers.get(name ?? "");
    while (node && through.includes(node.op)) node = producers.get(node.inputs[0] ?? "");
    return node;
  };
  const end = descend("cls_states", ["Identity"]);
  const isPerFrame = end?.op === "Reshape";
  const top = descend("cls_states", ["Identity", "Reshape", "ReduceMean"]);
  const norms = top?.op === "Concat" ? top.inputs.map((input) => descend(input, ["ReduceMean"])) : [top];
  const found = norms.flatMap((node) => (node?.op === "LayerNormalization" ? [node] : []));
  const isAfterMean = found.some((node) => producers.get(node.inputs[0] ?? "")?.op === "ReduceMean");
  return found.length === norms.length && !isAfterMean ? { norms: found, isPerFrame } : undefined;
}

/** All tokens after a block, before the norm. */
interface BlockTokens {
  readonly norm: Node;
  /** [B, T, d] */
  readonly tokens: Value;
  /** Number of tokens before the patches; undefined if the state is the class token, which does not reveal it. */
  readonly special: number | undefined;
}

function tokensOf(graph: Graph, g: GraphBuilder, norm: Node): BlockTokens {
  const [input = ""] = norm.inputs;
  const cut = graph.nodes.find((node) => node.op === "Slice" && node.outputs.includes(input));
  if (!cut) return { norm, tokens: g.value(input), special: 0 };
  const [tokens = "", start = "", end = ""] = cut.inputs;
  const isClassToken = g.constantOf(g.value(end))?.[0] === 1;
  const [special = 0] = g.constantOf(g.value(start)) ?? [];
  return { norm, tokens: g.value(tokens), special: isClassToken ? undefined : special };
}

/** How an encoder arranges its tokens, and how patches [B, N, d] are brought into the order of the layout. */
interface Arrangement {
  readonly special: number;
  readonly layout: PatchLayout;
  arrange(g: GraphBuilder, patches: Value): Value;
}

/** All tokens of an image except the first ones. */
function inOneRow({ tokens }: BlockTokens, skipped: number): Arrangement {
  const columns = Number(tokens.shape[1]) - skipped;
  return { special: skipped, layout: { frames: 1, rows: 1, columns }, arrange: (_, x) => x };
}

function arrangementOf(
  graph: Graph,
  modality: Modality,
  { tokens, special: known }: BlockTokens,
  isPerFrame: boolean,
): Arrangement {
  const [count, width] = [Number(tokens.shape[1]), Number(tokens.shape[2])];
  if (modality === "audio") return ofAudio(graph, count, width, known);
  if (modality === "image" || isPerFrame) {
    const special = known ?? specialBefore(count, 1);
    const side = Math.sqrt(count - special);
    const frames = modality === "image" ? 1 : Number(graph.inputs[0]?.shape[1]);
    return {
      special,
      layout: { frames, rows: side, columns: side },
      arrange: (g, patches) => (frames === 1 ? patches : g.reshape(patches, [-1, frames * side * side, width])),
    };
  }
  // The tokens of VideoMAE and V-JEPA 2 are tubelets, in the order of the layout.
  const positions = graph.initializers.get("patch_embed.times") ?? graph.initializers.get("rope.cosines");
  const times = positions?.shape[0];
  if (times !== undefined) {
    const side = Math.sqrt(count / times);
    return { special: 0, layout: { frames: times, rows: side, columns: side }, arrange: (_, patches) => patches };
  }
  const frames = Number(graph.inputs[0]?.shape[1]);
  const special = known ?? specialBefore(count, frames);
  const places = (count - special) / frames;
  const side = Math.sqrt(places);
  return {
    special,
    layout: { frames, rows: side, columns: side },
    // TimeSformer keeps the frames of each position together.
    arrange: (g, patches) =>
      g.reshape(g.transpose(g.reshape(patches, [0, places, frames, width]), [0, 2, 1, 3]), [0, frames * places, width]),
  };
}

/** The class token, and as many others (registers, a distillation token) as leave square frames. */
function specialBefore(count: number, frames: number): number {
  let special = 1;
  while (special < count && !Number.isInteger(Math.sqrt((count - special) / frames))) special++;
  return special;
}

/** AST has patches of frequencies and times, lowest frequencies first; Whisper's tokens are points in time. */
function ofAudio(graph: Graph, count: number, width: number, known: number | undefined): Arrangement {
  const places = (axis: string) => graph.initializers.get(`patch_embed.${axis}`)?.shape[0];
  const [bins, times] = [places("bins"), places("frames")];
  if (bins === undefined || times === undefined) {
    return { special: known ?? 1, layout: { frames: 1, rows: 1, columns: count - (known ?? 1) }, arrange: (_, x) => x };
  }
  // The class token and the distillation token; both axes list the places of all windows, of the same patch size.
  const special = known ?? 2;
  const patch = Math.sqrt((bins * times) / (count - special));
  const [rows, columns] = [bins / patch, times / patch];
  return {
    special,
    layout: { frames: 1, rows: 1, columns },
    arrange: (g, patches) => g.squeeze(g.mean(g.reshape(patches, [0, rows, columns, width]), 1), 1),
  };
}
