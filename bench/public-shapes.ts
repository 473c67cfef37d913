import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint } from "../src/formats/checkpoint.js";
import { openSafetensors } from "../src/formats/safetensors.js";
import type { Shape } from "../src/tensor/tensor.js";
import { type RandomTensor, randomTensor, writeFolder, writeTokenizer } from "./random-model.js";

/**
 * Public encoders and language models, as a tiny checkpoint of the same architecture from the tests, enlarged: its
 * tensors have the published names, and each of its dimensions stands for one of the public model.
 */
export interface PublicShape {
  /** Name of the model on the hub. */
  readonly hub: string;
  /** As stated by its publisher. */
  readonly license: string;
  /** Folder in test/fixtures/backbones. */
  readonly fixture: string;
  readonly layers: number;
  /** The public dimension for each dimension of the tiny checkpoint; others stay as they are. */
  readonly dimensions: Readonly<Record<number, number>>;
  /** Shapes that `dimensions` would get wrong, because two dimensions of the tiny checkpoint are equal by accident. */
  readonly exceptions?: readonly (readonly [name: RegExp, shape: Shape])[];
  /** Keys of `config.json` that differ from those of the tiny checkpoint. */
  readonly config: Readonly<Record<string, unknown>>;
}

const FIXTURES = "test/fixtures/backbones";

/** Returns a checkpoint with random weights that are computed when they are read, and its `config.json`. */
export function publicModel({ fixture, layers, dimensions, exceptions = [], config }: PublicShape): {
  readonly checkpoint: Checkpoint & { readonly tensors: ReadonlyMap<string, RandomTensor> };
  readonly config: Readonly<Record<string, unknown>>;
} {
  const path = join(FIXTURES, fixture);
  const tiny = openSafetensors(join(path, "model.safetensors"));
  const tensors = new Map<string, RandomTensor>();
  for (const [name, { shape }] of tiny.tensors) {
    const own =
      exceptions.find(([pattern]) => pattern.test(name))?.[1] ?? shape.map((size) => dimensions[size] ?? size);
    for (const copy of copiesOf(name, layers)) tensors.set(copy, randomTensor(copy, own));
  }
  tiny.close();
  const known = JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as Record<string, unknown>;
  return { checkpoint: { path: fixture, tensors, metadata: {}, close: () => {} }, config: { ...known, ...config } };
}

/** Writes a folder in Hugging Face's form. */
export function writePublicModel(folder: string, shape: PublicShape): void {
  const { checkpoint, config } = publicModel(shape);
  writeFolder(folder, config, checkpoint.tensors);
  writeTokenizer(folder);
}

/** The names of a tensor of the first block in all blocks; tensors of the other blocks have none. */
function copiesOf(name: string, layers: number): string[] {
  const block = /(?<=\b(?:layers?|blocks)\.)\d+(?=\.)/.exec(name)?.[0];
  if (block === undefined) return [name];
  if (block !== "0") return [];
  return Array.from({ length: layers }, (_, layer) =>
    name.replace(/(?<=\b(?:layers?|blocks)\.)0(?=\.)/, String(layer)),
  );
}

interface Sizes {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Intermediate size. Default: 4 x width. */
  readonly inner?: number;
}

const small: Sizes = { width: 384, layers: 12, heads: 6 };
const base: Sizes = { width: 768, layers: 12, heads: 12 };
const large: Sizes = { width: 1024, layers: 24, heads: 16 };
const huge: Sizes = { width: 1280, layers: 32, heads: 16 };
const so400m: Sizes = { width: 1152, layers: 27, heads: 16, inner: 4304 };

const innerOf = ({ width, inner = 4 * width }: Sizes) => inner;

/** The keys that most configs share. */
function configOf(sizes: Sizes, imageSize: number, patchSize: number): Readonly<Record<string, unknown>> {
  return {
    hidden_size: sizes.width,
    intermediate_size: innerOf(sizes),
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    image_size: imageSize,
    patch_size: patchSize,
  };
}

const patchesOf = (imageSize: number, patchSize: number) => Math.floor(imageSize / patchSize) ** 2;

function vit(hub: string, sizes: Sizes): PublicShape {
  const dimensions = { 32: sizes.width, 64: innerOf(sizes), 17: patchesOf(224, 16) + 1, 8: 16 };
  const config = configOf(sizes, 224, 16);
  return { hub, license: "Apache 2.0", fixture: "vit", layers: sizes.layers, dimensions, config };
}

function clip(hub: string, sizes: Sizes, patchSize: number, imageSize = 224): PublicShape {
  const dimensions = {
    48: sizes.width,
    56: innerOf(sizes),
    5: patchesOf(imageSize, patchSize) + 1,
    8: patchSize,
  };
  const config = configOf(sizes, imageSize, patchSize);
  return { hub, license: "MIT", fixture: "clip-vision", layers: sizes.layers, dimensions, config };
}

function siglip(hub: string, sizes: Sizes, patchSize: number, imageSize = 224): PublicShape {
  const dimensions = {
    32: sizes.width,
    40: innerOf(sizes),
    96: 3 * sizes.width,
    9: patchesOf(imageSize, patchSize),
    8: patchSize,
  };
  const config = configOf(sizes, imageSize, patchSize);
  return { hub, license: "Apache 2.0", fixture: "siglip-vision", layers: sizes.layers, dimensions, config };
}

function dinov2(hub: string, sizes: Sizes): PublicShape {
  const dimensions = { 24: sizes.width, 48: innerOf(sizes), 50: patchesOf(518, 14) + 1, 6: 14 };
  const config = { ...configOf(sizes, 518, 14), mlp_ratio: 4 };
  return { hub, license: "Apache 2.0", fixture: "dinov2", layers: sizes.layers, dimensions, config };
}

function dinov3(hub: string, sizes: Sizes): PublicShape {
  const dimensions = { 24: sizes.width, 40: innerOf(sizes), 4: 16 };
  const exceptions = [[/register_tokens/, [1, 4, sizes.width]]] as const;
  const config = configOf(sizes, 224, 16);
  return { hub, license: "DINOv3", fixture: "dinov3", layers: sizes.layers, dimensions, exceptions, config };
}

function eva02(hub: string, fixture: string, { sizes, imageSize, patchSize }: EvaShape): PublicShape {
  const dimensions = { 24: sizes.width, 64: innerOf(sizes), 7: patchSize, 17: patchesOf(imageSize, patchSize) + 1 };
  const config = { model_args: { num_heads: sizes.heads }, pretrained_cfg: { input_size: [3, imageSize, imageSize] } };
  return { hub, license: "MIT", fixture, layers: sizes.layers, dimensions, config };
}

interface EvaShape {
  readonly sizes: Sizes;
  readonly imageSize: number;
  readonly patchSize: number;
}

function whisper(hub: string, sizes: Sizes, melBins: number): PublicShape {
  const dimensions = { 24: sizes.width, 40: innerOf(sizes), 10: melBins, 7: 1500 };
  const config = {
    d_model: sizes.width,
    encoder_ffn_dim: innerOf(sizes),
    encoder_layers: sizes.layers,
    encoder_attention_heads: sizes.heads,
    num_mel_bins: melBins,
    max_source_positions: 1500,
  };
  return { hub, license: "Apache 2.0", fixture: "whisper", layers: sizes.layers, dimensions, config };
}

const ast: PublicShape = {
  hub: "MIT/ast-finetuned-audioset-10-10-0.4593",
  license: "BSD 3-Clause",
  fixture: "ast",
  layers: base.layers,
  dimensions: { 32: base.width, 48: innerOf(base), 8: 16 },
  exceptions: [[/position_embeddings/, [1, 1214, base.width]]],
  config: {
    ...configOf(base, 0, 16),
    max_length: 1024,
    num_mel_bins: 128,
    frequency_stride: 10,
    time_stride: 10,
  },
};

const timesformer: PublicShape = {
  hub: "facebook/timesformer-base-finetuned-k400",
  license: "CC BY-NC 4.0",
  fixture: "timesformer",
  layers: base.layers,
  dimensions: { 32: base.width, 48: innerOf(base), 96: 3 * base.width, 5: patchesOf(224, 16) + 1, 8: 16 },
  exceptions: [[/time_embeddings/, [1, 8, base.width]]],
  config: { ...configOf(base, 224, 16), num_frames: 8 },
};

const videomae: PublicShape = {
  hub: "MCG-NJU/videomae-base",
  license: "CC BY-NC 4.0",
  fixture: "videomae",
  layers: base.layers,
  dimensions: { 32: base.width, 48: innerOf(base), 8: 16 },
  config: { ...configOf(base, 224, 16), num_frames: 16 },
};

const vjepa2: PublicShape = {
  hub: "facebook/vjepa2-vitl-fpc16-256-ssv2",
  license: "MIT",
  fixture: "vjepa2",
  layers: large.layers,
  dimensions: { 32: large.width, 44: innerOf(large), 8: 16 },
  config: { ...configOf(large, 256, 16), mlp_ratio: 4, crop_size: 256, frames_per_clip: 16 },
};

/** CLIP ViT-L/14. */
export const clipLarge = clip("openai/clip-vit-large-patch14", large, 14);

/** The first is the one with which the others are compared. */
export const publicEncoders: readonly PublicShape[] = [
  vit("google/vit-base-patch16-224", base),
  vit("google/vit-large-patch16-224", large),
  clip("openai/clip-vit-base-patch32", base, 32),
  clip("openai/clip-vit-base-patch16", base, 16),
  clipLarge,
  clip("openai/clip-vit-large-patch14-336", large, 14, 336),
  clip("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", huge, 14),
  clip("laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", { width: 1664, layers: 48, heads: 16, inner: 8192 }, 14),
  siglip("google/siglip-base-patch16-224", base, 16),
  siglip("google/siglip-so400m-patch14-384", so400m, 14, 384),
  siglip("google/siglip2-base-patch16-224", base, 16),
  siglip("google/siglip2-so400m-patch16-384", so400m, 16, 384),
  dinov2("facebook/dinov2-small", small),
  dinov2("facebook/dinov2-base", base),
  dinov2("facebook/dinov2-large", large),
  dinov3("facebook/dinov3-vits16-pretrain-lvd1689m", small),
  dinov3("facebook/dinov3-vitb16-pretrain-lvd1689m", base),
  dinov3("facebook/dinov3-vitl16-pretrain-lvd1689m", large),
  eva02("timm/eva02_base_patch14_448.mim_in22k_ft_in22k_in1k", "eva02-timm", {
    sizes: { ...base, inner: 2048 },
    imageSize: 448,
    patchSize: 14,
  }),
  eva02("timm/eva02_large_patch14_clip_224.merged2b", "eva02-clip-timm", {
    sizes: { ...large, inner: 2730 },
    imageSize: 224,
    patchSize: 14,
  }),
  whisper("openai/whisper-tiny", { width: 384, layers: 4, heads: 6 }, 80),
  whisper("openai/whisper-small", base, 80),
  whisper("openai/whisper-large-v3", { width: 1280, layers: 32, heads: 20 }, 128),
  ast,
  timesformer,
  videomae,
  vjepa2,
];

/** Qwen3-0.6B. */
export const qwen3Small: PublicShape = {
  hub: "Qwen/Qwen3-0.6B",
  license: "Apache 2.0",
  fixture: "qwen3-tied",
  layers: 28,
  dimensions: { 24: 1024, 40: 3072, 20: 1024, 10: 128, 64: 151936 },
  exceptions: [
    [/q_proj/, [2048, 1024]],
    [/o_proj/, [1024, 2048]],
  ],
  config: {
    hidden_size: 1024,
    intermediate_size: 3072,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    head_dim: 128,
    layer_types: Array.from({ length: 28 }, () => "full_attention"),
    max_position_embeddings: 40960,
    vocab_size: 151936,
  },
};
