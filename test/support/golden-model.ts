import { join } from "node:path";
import { type ClsAdapter, type ClsInjectionSettings, clsSettings, PROMPT } from "../../src/adapter/adapter.js";
import { readAdapter } from "../../src/adapter/adapter-file.js";
import type { AdapterWidths } from "../../src/adapter/adapter-widths.js";
import type { DecoderBackbone } from "../../src/backbones/backbone.js";
import { ParameterReader } from "../../src/backbones/parameters.js";
import { decoderArchitecture } from "../../src/backbones/registry.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import { Weights } from "../../src/formats/weights.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Graph } from "../../src/graph/ir.js";
import { readJson } from "../../src/model/source-folder.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import type { PaddedTexts } from "../../src/training/adapter/padded-batch.js";
import { type LossWeights, trainingFeeds } from "../../src/training/adapter/training-batch.js";
import type { TrainingGraphOptions } from "../../src/training/adapter/training-graph.js";

/** Tiny models in public formats, with gradients and three AdamW steps of torch: `reference/make_goldens.py`. */
export const goldenNames = [
  "llama-shared-1token",
  "opt-6states-mlp10",
  "opt-causal-perception",
  "opt-post-norm-projected",
  "opt-shared-1token",
] as const;

export type GoldenName = (typeof goldenNames)[number];

const folder = join("test", "fixtures", "goldens");

/** A frozen decoder, an adapter, a batch of texts and encoder states, and the results of torch. */
export interface GoldenModel {
  readonly adapter: ClsAdapter;
  readonly texts: PaddedTexts;
  /** Shape [B, depth, dv]. */
  readonly states: Tensor;
  /** A tensor of `golden.safetensors`. */
  golden(name: string): Tensor;
  graph(build: (g: GraphBuilder, backbone: DecoderBackbone) => Graph): Graph;
}

export async function openGoldenModel(name: GoldenName): Promise<GoldenModel> {
  const path = join(folder, name);
  const { tensors } = openSafetensors(join(path, "golden.safetensors"));
  const golden = (key: string): Tensor => {
    const source = tensors.get(key);
    if (!source) throw new RangeError(`${name}: golden.safetensors has no ${key}`);
    return { type: source.type, shape: source.shape, data: source.read() };
  };
  const settings = readJson(join(path, "case.json"));
  const adapter = await readAdapter(join(path, "adapter.safetensors"), {
    injectedStates: Number(settings?.injected_hidden_states),
    startLayer: Number(settings?.start_layer_idx),
    endLayer: Number(settings?.end_layer_idx),
    perceptionSees: settings?.perception_sees === "itself" ? "itself" : "everything",
  });
  return {
    adapter: { ...adapter, settings: clsSettings(adapter.settings, path) },
    texts: { ids: golden("input_ids"), mask: golden("attention_mask") },
    states: golden("states"),
    golden,
    graph(build) {
      const config = readJson(join(path, "decoder", "config.json"));
      const architecture = decoderArchitecture(String(config?.model_type), path);
      const checkpoint = openSafetensors(join(path, "decoder", "model.safetensors"));
      const g = new GraphBuilder(name);
      const weights = new Weights(checkpoint, { rename: architecture.rename });
      return build(g, architecture.build(config, new ParameterReader(g, weights)));
    },
  };
}

/** Options for the training graph of a model, with its own or other settings. */
export function graphOptions(
  model: GoldenModel,
  settings: ClsInjectionSettings = model.adapter.settings,
): TrainingGraphOptions {
  const { adapter, states } = model;
  const [, depth = 0] = states.shape;
  return {
    settings,
    widths: widthsOf(model),
    depth,
    trained: new Map(Array.from(adapter.tensors, ([name, { shape }]) => [name, shape])),
  };
}

/** Inputs of a training graph, including the adapter's tensors. By default, the loss is the mean over whole texts. */
export function modelFeeds(
  { adapter, texts, states }: GoldenModel,
  settings: ClsInjectionSettings = adapter.settings,
  weightOf: LossWeights["weightOf"] = () => 1 / (texts.ids.shape[0] ?? 1),
): Readonly<Record<string, Tensor>> {
  const layout = {
    front: 1,
    softTokens: settings.promptLength,
    frontAtEnd: 1,
    slotSees: settings.perceptionSees,
  };
  return {
    ...trainingFeeds(texts, { states }, layout, { weightOf }),
    ...Object.fromEntries(adapter.tensors),
  };
}

/** The widths that the adapter's tensors have. */
function widthsOf({ adapter: { tensors } }: GoldenModel): AdapterWidths {
  const [decoder = 0, encoder = 0] = tensors.get("connector.0.weight")?.shape ?? [];
  const [, embedding = 0] = tensors.get(`${PROMPT}.0.weight`)?.shape ?? [];
  return { encoder, decoder, embedding };
}
