import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { GraphBuilder } from "../../graph/builder.js";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import { layerNorm } from "../../layers/norm.js";
import { rotate } from "../../layers/rotary.js";
import { constantSource } from "../../tensor/tensor.js";
import type { EncoderSettings, PatchBackbone, PatchStates } from "../backbone.js";
import { count, frameCount, headLayout, layerCount, parseConfig, squareSide } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { throughBlocks } from "./through-blocks.js";
import { embedTubelets, tubeletsOf } from "./tubelets.js";
import { patchesPerSide } from "./vit.js";
import { type BlockShape, vitBlock } from "./vit-block.js";

/**
 * The encoder of V-JEPA 2 (Assran et al. 2025, arXiv 2506.09985): a vision transformer without a class token over
 * tubelets, in which the time, the row and the column of a tubelet rotate queries and keys. It follows
 * `modeling_vjepa2.py` of transformers with timm's tensor names; `vjepa2Name` converts them. B batch, F frames, T
 * tubelets in time, N places of a frame.
 */

export const vjepa2Config = z.object({
  model_type: z.literal("vjepa2"),
  // The defaults are those of VJEPA2Config, which files omit.
  patch_size: squareSide.default(16),
  crop_size: count.default(256),
  frames_per_clip: frameCount.default(64),
  tubelet_size: frameCount.default(2),
  hidden_size: count.default(1024),
  in_chans: z.literal(3).default(3),
  num_attention_heads: count.default(16),
  num_hidden_layers: layerCount.default(24),
  mlp_ratio: z.number().positive().max(100).default(4),
  layer_norm_eps: z.number().positive().default(1e-6),
  qkv_bias: z.boolean().default(true),
  hidden_act: z.string().default("gelu"),
});

/** Base of the frequencies of the rotation. */
const THETA = 10_000;

/** The first tensor, which follows `vjepa2.` in a classifier. */
export const vjepa2FirstTensor = /^(|.*\.)encoder\.embeddings\.patch_embeddings\.proj\.weight$/;

/** transformers' names of the parts of a block, and timm's; others are the same. */
const blockNames: Readonly<Record<string, string>> = {
  "attention.query": "attn.q",
  "attention.key": "attn.k",
  "attention.value": "attn.v",
  "attention.proj": "attn.proj",
};

/** timm's name of a tensor; undefined for the predictor, the attentive pooler and the classifier. */
export function vjepa2Name(name: string): string | undefined {
  const plain = name.replace(/^vjepa2\./, "");
  if (/^(predictor|pooler|classifier)\./.test(plain)) return undefined;
  const [, index, part = "", kind] = /^encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$/.exec(plain) ?? [];
  if (index !== undefined) return `blocks.${index}.${blockNames[part] ?? part}.${kind}`;
  return plain
    .replace(/^encoder\.embeddings\.patch_embeddings\./, "patch_embed.")
    .replace(/^encoder\.layernorm\./, "norm.");
}

/** @throws unsupported_architecture: weights contain neither the number of frames nor the size of the images */
export function vjepa2ConfigFromTensors(): never {
  throw new EpalmError("unsupported_architecture", "V-JEPA 2: expected a folder with a config.json, got weights only");
}

/**
 * @param settings `frames` may be any multiple of the tubelet size; clips with fewer frames than a tubelet are repeated
 */
export function vjepa2(json: unknown, parameters: ParameterReader, settings: EncoderSettings = {}): PatchBackbone {
  const config = parseConfig(vjepa2Config, json, "V-JEPA 2");
  const { g } = parameters;
  const { hidden_size: d, patch_size: patch, tubelet_size: tubelet, crop_size: size, layer_norm_eps: epsilon } = config;
  const side = patchesPerSide({ image_size: size, patch_size: patch }, "V-JEPA 2", "crop_size");
  const frames = settings.frames ?? config.frames_per_clip;
  const repeats = frames < tubelet ? tubelet : 1;
  const own = settings.frames === undefined ? "V-JEPA 2 config.json: 'frames_per_clip'" : undefined;
  const times = tubeletsOf(frames * repeats, tubelet, own);
  const shape: BlockShape = {
    width: d,
    layout: headLayout("V-JEPA 2", "num_attention_heads", { width: d, heads: config.num_attention_heads }),
    intermediateSize: Math.floor(d * config.mlp_ratio),
    activation: activationName(config.hidden_act, "hidden_act"),
    epsilon,
    qkvBias: config.qkv_bias,
  };
  const rotateHeads = rotation(parameters, shape.layout.headSize, times, side);

  /** pixels [B, F, 3, H, W] -> [B, T * N, d], frame by frame */
  function enter(pixels: Value): Value {
    const clip = repeats === 1 ? pixels : g.concat(new Array<Value>(repeats).fill(pixels), 1);
    const embedded = embedTubelets(parameters, clip, { width: d, tubelet, patch, side });
    return g.reshape(embedded, [-1, times * side * side, d]);
  }

  function through(pixels: Value): PatchStates {
    const block = (index: number, x: Value) =>
      vitBlock(parameters, `blocks.${index}`, x, shape, { rotate: rotateHeads });
    const pooling = { pooling: "mean", special: 0 } as const;
    const depth = config.num_hidden_layers;
    const { classTokens, last } = throughBlocks(parameters, shape, depth, enter(pixels), block, pooling);
    return { classTokens, patches: () => layerNorm(g, last, parameters.layerNorm("norm", d, epsilon)) };
  }

  return {
    architecture: config.model_type,
    modality: "video",
    inputShape: [frames, 3, size, size],
    depth: config.num_hidden_layers,
    width: d,
    states: (pixels) => through(pixels).classTokens,
    through,
  };
}

/**
 * Rotates queries or keys [B, heads, T * N, headSize] by the positions of their tubelets: the first third of the
 * elements by the time, the second by the row, the third by the column, and elements that remain not at all. Elements
 * 2i and 2i + 1 form a pair, but each has an angle of its own: that of frequency number 2i or 2i + 1, modulo their
 * number, as in the published code. So this is x cos + q sin with tables of all elements, where q is x with each pair
 * turned by 90 degrees.
 *
 * @throws unsupported_architecture for heads that are too small for a pair in each third
 */
function rotation(parameters: ParameterReader, headSize: number, times: number, side: number): (x: Value) => Value {
  const { g } = parameters;
  const third = 2 * Math.floor(headSize / 6);
  if (third === 0) {
    const message = `'num_attention_heads': expected heads of at least 6 elements, got ${headSize}`;
    throw new EpalmError("unsupported_architecture", `V-JEPA 2 config.json: ${message}`);
  }
  const places = side * side;

  function angle(token: number, element: number): number {
    const place = token % places;
    const position = [Math.floor(token / places), Math.floor(place / side), place % side][Math.floor(element / third)];
    const power = Math.fround(THETA ** Math.fround((element % (third / 2)) / (third / 2)));
    return position === undefined ? 0 : Math.fround(position * Math.fround(1 / power));
  }

  /** The cosines or sines of all angles: [T * N, headSize], stored as [T, N, headSize]. */
  function table(name: string, value: (angle: number) => number): Value {
    const read = () =>
      Float32Array.from({ length: times * places * headSize }, (_, at) =>
        value(angle(Math.floor(at / headSize), at % headSize)),
      );
    const values = parameters.derived(name, () => constantSource("float32", [times, places, headSize], read()));
    return g.reshape(values, [times * places, headSize]);
  }

  const [cosines, sines] = [table("rope.cosines", Math.cos), table("rope.sines", Math.sin)];
  const turn = quarterTurn(g, parameters, times * places, (3 * third) / 2);
  return (x) => g.add(g.multiply(x, cosines), g.multiply(turn(x), sines));
}

/** Turns the first pairs of each head by 90 degrees: (x_2i, x_2i+1) becomes (-x_2i+1, x_2i). */
function quarterTurn(g: GraphBuilder, parameters: ParameterReader, tokens: number, pairs: number) {
  const filled = (name: string, value: number) =>
    parameters.derived(name, () =>
      constantSource("float32", [tokens, pairs], new Float32Array(tokens * pairs).fill(value)),
    );
  const angles = {
    cosines: filled("rope.turn_cosines", 0),
    sines: filled("rope.turn_sines", 1),
    interleaved: true,
    rows: g.integers([0]),
  };
  return (x: Value) => rotate(g, x, angles);
}
