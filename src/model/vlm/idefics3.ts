import { z } from "zod";
import { count, squareSide } from "../../backbones/config.js";
import { EpalmError } from "../../core/errors.js";
import { parse } from "../../core/schema.js";
import { parseIdeficsProcessor } from "../../preprocessing/image-preprocessing.js";
import { processorOf } from "../encoder-preprocessing.js";
import type { Source } from "../source-folder.js";
import { readTextConfig, textName } from "./text-config.js";
import { connectorAdapter, partOf, type VlmParts } from "./vlm-parts.js";

/**
 * Idefics3 (Laurençon et al. 2024, arXiv 2408.12637) and SmolVLM (arXiv 2504.05299) without image splitting: SigLIP,
 * pixel shuffle, one linear, and a decoder. It follows `models/idefics3/modeling_idefics3.py` of transformers. Its
 * encoder computes the positions of patches from fractions, which for square images gives those of SigLIP; only with
 * some unusual numbers of patches, such as 25 per side, rounding repeats a few of them on some machines.
 */
const idefics3Config = z.object({
  model_type: z.enum(["idefics3", "smolvlm"]),
  vision_config: z.looseObject({
    // The defaults are those of Idefics3VisionConfig, which files omit.
    hidden_size: count.default(1152),
    intermediate_size: count.default(3072),
    num_hidden_layers: count.default(12),
    num_attention_heads: count.default(16),
    image_size: squareSide.default(224),
    patch_size: squareSide.default(32),
  }),
  text_config: z.looseObject({}),
  scale_factor: z.int().min(1).default(2),
  tie_word_embeddings: z.boolean().default(false),
});

const VISION = /^(?:model\.)?vision_model\.(.+)$/;
const PROJECTION = /^(?:model\.)?connector\.modality_projection\.proj\.weight$/;

/** The text around the tokens of an image that is not split. */
const IMAGE = "<fake_token_around_image><global-img>{medium}<fake_token_around_image>";

/** Takes an Idefics3 or SmolVLM apart. @throws unsupported_architecture, naming the field; invalid_checkpoint */
export function splitIdefics3(source: Source, imageToken: string): VlmParts {
  const where = `${source.folder}/config.json`;
  const config = parse(idefics3Config, source.config, where, "unsupported_architecture");
  const text = readTextConfig(config.text_config, where);
  const { scale_factor: side } = config;
  return {
    encoder: {
      ...source,
      config: { ...config.vision_config, model_type: "siglip_vision_model" },
      checkpoint: partOf(source.checkpoint, (name) => VISION.exec(name)?.[1]),
      imagePreprocessing: preprocessing(source),
    },
    patches: { normed: true },
    decoder: {
      ...source,
      config: { ...text, tie_word_embeddings: config.tie_word_embeddings },
      checkpoint: partOf(source.checkpoint, (name) => textName(name, "text_model")),
    },
    adapter: connectorAdapter(
      partOf(source.checkpoint, (name) => (PROJECTION.test(name) ? "proj.weight" : undefined)),
      { kind: "prefix", states: side === 1 ? "all" : { pixelShuffle: side }, projection: "linear", norm: false },
      text.num_hidden_layers,
      { "connector.0.weight": "proj.weight" },
    ),
    prompts: { imageToken, image: IMAGE, plain: `User:${IMAGE}{text}<end_of_utterance>\nAssistant:` },
  };
}

function preprocessing({ folder }: Source) {
  const processor = processorOf(folder, "image_processor");
  if (processor) return parseIdeficsProcessor(processor.settings, processor.path);
  throw new EpalmError("not_found", `${folder}: expected preprocessor_config.json or processor_config.json`);
}
