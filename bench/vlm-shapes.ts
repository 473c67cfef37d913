import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type RandomTensor, randomTensor, writeFolder, writeTokenizer } from "./random-model.js";

/** Vision-language models with public shapes and random weights, under the names of their publishers. */

interface EncoderShape {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly inner: number;
  readonly imageSize: number;
  readonly patchSize: number;
}

interface DecoderShape {
  readonly type: "llama" | "qwen2";
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly inner: number;
  readonly vocabulary: number;
}

interface Shape {
  readonly form: "smolvlm" | "nanovlm" | "llava";
  readonly encoder: EncoderShape;
  readonly decoder: DecoderShape;
  /** Pixel shuffle; 1 for none. */
  readonly shuffle: number;
}

const siglipBase = { width: 768, layers: 12, heads: 12, inner: 3072, patchSize: 16 };
const smolLm135m = { type: "llama", width: 576, layers: 30, heads: 9, keyHeads: 3, inner: 1536 } as const;

export const vlmShapes = {
  "SmolVLM-256M": {
    form: "smolvlm",
    encoder: { ...siglipBase, imageSize: 512 },
    decoder: { ...smolLm135m, vocabulary: 49_280 },
    shuffle: 4,
  },
  "nanoVLM-222M": {
    form: "nanovlm",
    encoder: { ...siglipBase, imageSize: 224 },
    decoder: { ...smolLm135m, vocabulary: 49_152 },
    shuffle: 2,
  },
  "llava-interleave-0.5b": {
    form: "llava",
    encoder: { width: 1152, layers: 26, heads: 16, inner: 4304, imageSize: 384, patchSize: 14 },
    decoder: {
      ...{ type: "qwen2", width: 1024, layers: 24, heads: 16, keyHeads: 16, inner: 2816 },
      vocabulary: 152_000,
    },
    shuffle: 1,
  },
} as const satisfies Readonly<Record<string, Shape>>;
export type VlmName = keyof typeof vlmShapes;

/** The id of the image token in the tokenizer of `writeTokenizer`, whose vocabulary has 259 tokens. */
const IMAGE_TOKEN = 2;

type Tensors = Map<string, RandomTensor>;

function add(tensors: Tensors, name: string, shape: readonly number[]): void {
  tensors.set(name, randomTensor(name, shape));
}

function linear(tensors: Tensors, name: string, inputs: number, outputs: number): void {
  add(tensors, `${name}.weight`, [outputs, inputs]);
  add(tensors, `${name}.bias`, [outputs]);
}

/** SigLIP in the names of transformers. */
function siglip(tensors: Tensors, prefix: string, shape: EncoderShape): void {
  const { width, layers, inner, imageSize, patchSize } = shape;
  add(tensors, `${prefix}embeddings.patch_embedding.weight`, [width, 3, patchSize, patchSize]);
  add(tensors, `${prefix}embeddings.patch_embedding.bias`, [width]);
  add(tensors, `${prefix}embeddings.position_embedding.weight`, [Math.floor(imageSize / patchSize) ** 2, width]);
  for (let layer = 0; layer < layers; layer++) {
    const name = `${prefix}encoder.layers.${layer}`;
    for (const part of ["q_proj", "k_proj", "v_proj", "out_proj"]) {
      linear(tensors, `${name}.self_attn.${part}`, width, width);
    }
    linear(tensors, `${name}.mlp.fc1`, width, inner);
    linear(tensors, `${name}.mlp.fc2`, inner, width);
    for (const part of ["layer_norm1", "layer_norm2"]) norm(tensors, `${name}.${part}`, width);
  }
  norm(tensors, `${prefix}post_layernorm`, width);
}

function norm(tensors: Tensors, name: string, width: number): void {
  add(tensors, `${name}.weight`, [width]);
  add(tensors, `${name}.bias`, [width]);
}

/** A tied decoder of the Llama family in the names of transformers. */
function llama(tensors: Tensors, prefix: string, shape: DecoderShape): void {
  const { type, width, layers, heads, keyHeads, inner, vocabulary } = shape;
  const keyWidth = (width / heads) * keyHeads;
  add(tensors, `${prefix}embed_tokens.weight`, [vocabulary, width]);
  for (let layer = 0; layer < layers; layer++) {
    const name = `${prefix}layers.${layer}`;
    for (const [part, size] of [
      ["q_proj", width],
      ["k_proj", keyWidth],
      ["v_proj", keyWidth],
    ] as const) {
      add(tensors, `${name}.self_attn.${part}.weight`, [size, width]);
      if (type === "qwen2") add(tensors, `${name}.self_attn.${part}.bias`, [size]);
    }
    add(tensors, `${name}.self_attn.o_proj.weight`, [width, width]);
    for (const part of ["gate_proj", "up_proj"]) add(tensors, `${name}.mlp.${part}.weight`, [inner, width]);
    add(tensors, `${name}.mlp.down_proj.weight`, [width, inner]);
    for (const part of ["input_layernorm", "post_attention_layernorm"]) add(tensors, `${name}.${part}.weight`, [width]);
  }
  add(tensors, `${prefix}norm.weight`, [width]);
}

/** Writes the folder of a public model. nanoVLM is written as the SmolVLM that computes the same. */
export function writeVlm(folder: string, name: VlmName): void {
  const { form, encoder, decoder, shuffle }: Shape = vlmShapes[name];
  const tensors: Tensors = new Map();
  const isLlava = form === "llava";
  siglip(tensors, isLlava ? "vision_tower.vision_model." : "model.vision_model.", encoder);
  llama(tensors, isLlava ? "language_model.model." : "model.text_model.", decoder);
  if (isLlava) {
    linear(tensors, "multi_modal_projector.linear_1", encoder.width, decoder.width);
    linear(tensors, "multi_modal_projector.linear_2", decoder.width, decoder.width);
  } else {
    const wide = encoder.width * shuffle ** 2;
    add(tensors, "model.connector.modality_projection.proj.weight", [decoder.width, wide]);
  }
  writeFolder(folder, configOf(form, encoder, decoder, shuffle), tensors);
  writeTokenizer(folder);
  const size = { height: encoder.imageSize, width: encoder.imageSize };
  const processor = isLlava
    ? { image_processor_type: "SiglipImageProcessor", size }
    : {
        image_processor_type: "SmolVLMImageProcessor",
        size: { longest_edge: form === "nanovlm" ? encoder.imageSize : 2048 },
        max_image_size: { longest_edge: encoder.imageSize },
      };
  writeFileSync(join(folder, "preprocessor_config.json"), JSON.stringify(processor));
}

function configOf(form: Shape["form"], encoder: EncoderShape, decoder: DecoderShape, shuffle: number): object {
  const isLlava = form === "llava";
  return {
    model_type: isLlava ? "llava" : "smolvlm",
    image_token_id: IMAGE_TOKEN,
    scale_factor: shuffle,
    vision_config: {
      model_type: isLlava ? "siglip_vision_model" : "smolvlm_vision",
      hidden_size: encoder.width,
      intermediate_size: encoder.inner,
      num_hidden_layers: encoder.layers,
      num_attention_heads: encoder.heads,
      image_size: encoder.imageSize,
      patch_size: encoder.patchSize,
    },
    text_config: {
      model_type: decoder.type,
      hidden_size: decoder.width,
      intermediate_size: decoder.inner,
      num_hidden_layers: decoder.layers,
      num_attention_heads: decoder.heads,
      num_key_value_heads: decoder.keyHeads,
      vocab_size: decoder.vocabulary,
      max_position_embeddings: 8192,
      tie_word_embeddings: true,
      eos_token_id: 2,
    },
    tie_word_embeddings: true,
    vision_feature_layer: -1,
    vision_feature_select_strategy: "full",
  };
}
