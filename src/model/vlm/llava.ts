import { z } from "zod";
import { count } from "../../backbones/config.js";
import { EpalmError } from "../../core/errors.js";
import { parse } from "../../core/schema.js";
import { activationName } from "../../layers/activation.js";
import { parseLlavaNextProcessor } from "../../preprocessing/image-preprocessing.js";
import { processorOf } from "../encoder-preprocessing.js";
import type { Source } from "../source-folder.js";
import { readTextConfig, textName } from "./text-config.js";
import { connectorAdapter, partOf, type VlmParts } from "./vlm-parts.js";

/**
 * LLaVA 1.5 (Liu et al. 2023, arXiv 2310.03744) and LLaVA-Interleave (arXiv 2407.07895), and LLaVA-NeXT with the
 * overview as its only tile: patch states of one block of CLIP or SigLIP before its final norm, an MLP of two linears,
 * and a decoder. It follows `models/llava/modeling_llava.py` and `models/llava_next/modeling_llava_next.py` of
 * transformers.
 */
const llavaConfig = z.object({
  model_type: z.enum(["llava", "llava_next"]),
  vision_config: z.looseObject({
    model_type: z
      .enum(["clip_vision_model", "siglip_vision_model"], "expected clip_vision_model or siglip_vision_model")
      .default("clip_vision_model"),
    num_hidden_layers: count.default(12),
    image_size: count.default(224),
  }),
  text_config: z.looseObject({}),
  projector_hidden_act: z.string().default("gelu"),
  vision_feature_layer: z.int("expected one layer; the states of several layers cannot be joined").default(-2),
  vision_feature_select_strategy: z.enum(["default", "full"]).default("default"),
  multimodal_projector_bias: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(false),
  // The first one of transformers' default.
  image_grid_pinpoints: z.array(z.array(z.number())).default([[336, 672]]),
});

type LlavaConfig = z.infer<typeof llavaConfig>;

const VISION = /^(?:model\.)?vision_tower\.(?:vision_model\.)?(.+)$/;
const PROJECTOR = /^(?:model\.)?multi_modal_projector\.(.+)$/;
const NEWLINE = /^(?:model\.)?image_newline$/;

/** Takes a LLaVA apart. @throws unsupported_architecture, naming the field; invalid_checkpoint */
export function splitLlava(source: Source, imageToken: string): VlmParts {
  const where = `${source.folder}/config.json`;
  const config = parse(llavaConfig, source.config, where, "unsupported_architecture");
  refuseTiles(config, where);
  const isNext = config.model_type === "llava_next";
  const blocks = usedBlocks(config, where);
  const text = readTextConfig(config.text_config, where);
  const vision: Source = {
    ...source,
    config: { ...config.vision_config, num_hidden_layers: blocks },
    checkpoint: partOf(source.checkpoint, (name) => visionName(name, blocks)),
    ...(isNext ? { imagePreprocessing: overview(source) } : {}),
  };
  const decoder: Source = {
    ...source,
    config: { ...text, tie_word_embeddings: config.tie_word_embeddings || text.tie_word_embeddings === true },
    checkpoint: partOf(source.checkpoint, (name) => textName(name, "language_model")),
  };
  const isDefault = config.vision_feature_select_strategy === "default";
  return {
    encoder: vision,
    patches: { normed: false, skipped: isDefault ? 1 : 0 },
    decoder,
    adapter: projector(source, config, text.num_hidden_layers, where),
    prompts: { imageToken, image: "{medium}", plain: "USER: {medium}\n{text} ASSISTANT:" },
  };
}

/** Without the blocks after the one whose states are used. */
function visionName(name: string, blocks: number): string | undefined {
  const [, inside] = VISION.exec(name) ?? [];
  const [, block] = /^encoder\.layers\.(\d+)\./.exec(inside ?? "") ?? [];
  return block !== undefined && Number(block) >= blocks ? undefined : inside;
}

/** The number of the encoder's blocks before the states that the projector takes. */
function usedBlocks({ vision_config, vision_feature_layer: layer }: LlavaConfig, where: string): number {
  const { num_hidden_layers: layers } = vision_config;
  const blocks = layer < 0 ? layers + 1 + layer : layer;
  if (blocks >= 1 && blocks <= layers) return blocks;
  throw new EpalmError(
    "unsupported_architecture",
    `${where}: 'vision_feature_layer': expected a block of the encoder, 1 to ${layers} or -${layers} to -1, got ${layer}`,
  );
}

function projector({ checkpoint }: Source, config: LlavaConfig, layers: number, where: string) {
  const activation = activationName(config.projector_hidden_act, `${where}: 'projector_hidden_act'`);
  const isNext = config.model_type === "llava_next";
  const parts = partOf(checkpoint, (name) => (NEWLINE.test(name) ? "image_newline" : PROJECTOR.exec(name)?.[1]));
  const kinds = config.multimodal_projector_bias ? ["weight", "bias"] : ["weight"];
  const linear = (own: string, name: string) => kinds.map((kind) => [`${own}.${kind}`, `${name}.${kind}`] as const);
  return connectorAdapter(
    parts,
    {
      kind: "prefix",
      states: "all",
      projection: "mlp",
      norm: false,
      ...(activation === "gelu" ? {} : { activation }),
      ...(isNext ? { ending: true } : {}),
    },
    layers,
    Object.fromEntries([
      ...linear("connector.0", "linear_1"),
      ...linear("connector.2", "linear_2"),
      ...(isNext ? [["connector.ending", "image_newline"] as const] : []),
    ]),
  );
}

/** @throws unsupported_architecture if images are divided into tiles, whose number depends on their size */
function refuseTiles({ model_type, image_grid_pinpoints, vision_config }: LlavaConfig, where: string): void {
  const { image_size: side } = vision_config;
  const larger = image_grid_pinpoints.find((lengths) => lengths.some((length) => length > side));
  if (model_type === "llava" || !larger) return;
  throw new EpalmError(
    "unsupported_architecture",
    `${where}: 'image_grid_pinpoints': expected no size above ${side}, because images are not divided into tiles, got ` +
      `${larger.join(" x ")}; a copy of the folder with an empty list uses the overview alone`,
  );
}

function overview({ folder }: Source) {
  const processor = processorOf(folder, "image_processor");
  return processor && parseLlavaNextProcessor(processor.settings, processor.path);
}
