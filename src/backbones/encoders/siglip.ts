import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import { attention, splitHeads } from "../../layers/attention.js";
import { linear } from "../../layers/linear.js";
import { layerNorm } from "../../layers/norm.js";
import type { EncoderSettings, PatchBackbone, PatchStates } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig, squareSide, visionKeys } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { clipName, coveredPixels, imageSide, positionCount, positions } from "./clip.js";
import { throughBlocks, tokenPooling } from "./through-blocks.js";
import { blockKeys, neededShape, type TensorShapes, type TimmSettings } from "./timm-config.js";
import { embedPatches } from "./vit.js";
import { type BlockShape, feedForward, vitBlock } from "./vit-block.js";

/**
 * The image encoder of SigLIP (Zhai et al. 2023, arXiv 2303.15343) and of SigLIP 2 at fixed resolution (Tschannen et
 * al. 2025, arXiv 2502.14786): a vision transformer without a class token, whose patches are pooled by attention with a
 * learned query. It uses timm's tensor names; `siglipName` converts those of transformers (`modeling_siglip.py`).
 */

export const siglipConfig = z.object({
  model_type: z.enum(["siglip", "siglip_vision_model", "siglip2", "siglip2_vision_model"]),
  // The defaults are those of SiglipVisionConfig, which files omit.
  hidden_size: count.default(768),
  num_hidden_layers: layerCount.default(12),
  num_attention_heads: count.default(12),
  intermediate_size: count.default(3072),
  image_size: squareSide.default(224),
  patch_size: squareSide.default(16),
  num_channels: z.literal(3).default(3),
  hidden_act: z.string().default("gelu_pytorch_tanh"),
  layer_norm_eps: z.number().positive().default(1e-6),
});

export type SiglipConfig = z.infer<typeof siglipConfig>;

/** The giant SigLIP 2 has wider heads than other encoders of this width. */
const GIANT = { width: 1536, heads: 16 } as const;

/** transformers' names of the pooling's parts, and timm's, as those of a block. */
const poolNames: readonly (readonly [RegExp, string])[] = [
  [/^head\.probe$/, "attn_pool.latent"],
  [/^head\.attention\.in_proj_/, "attn_pool.qkv."],
  [/^head\.attention\.out_proj\./, "attn_pool.proj."],
  [/^(head\.layernorm|attn_pool\.norm)\./, "attn_pool.norm2."],
  [/^head\.mlp\./, "attn_pool.mlp."],
];

/** timm's name of a tensor; undefined if it is not part of the image encoder, or of a pooling that is not used. */
export function siglipName(name: string, { pooling }: EncoderSettings = {}): string | undefined {
  const pooled = poolNames.reduce((text, [from, to]) => text.replace(from, to), name);
  if (pooled.startsWith("attn_pool.")) return pooling === "attention" ? pooled : undefined;
  return clipName(pooled);
}

/** A config derived from the shapes of tensors. */
export function siglipConfigFromTensors(shapeOf: TensorShapes, settings: TimmSettings = {}): SiglipConfig {
  const what = "SigLIP's image encoder";
  const [width = 0, , patch = 0] = neededShape(shapeOf, what, "patch_embed.proj.weight", 4);
  const heads = settings.heads ?? (width === GIANT.width ? GIANT.heads : undefined);
  return parseConfig(
    siglipConfig,
    {
      model_type: "siglip_vision_model",
      ...blockKeys(shapeOf, what, width, { ...settings, heads }),
      image_size: imageSide(positionCount(shapeOf, what), patch, settings),
      patch_size: patch,
      hidden_act: settings.activation,
    },
    what,
  );
}

/** @throws unsupported_architecture for a NaFlex checkpoint, whose images have any size and aspect ratio */
function fixedResolution(json: unknown): unknown {
  const keys = visionKeys(json);
  const { model_type, image_size } = z.looseObject({}).safeParse(keys).data ?? {};
  if (!String(model_type).startsWith("siglip2") || image_size !== undefined) return keys;
  throw new EpalmError(
    "unsupported_architecture",
    `SigLIP config.json: 'image_size': expected a SigLIP 2 of fixed resolution, such as ` +
      `google/siglip2-base-patch16-224; got a NaFlex model, whose images keep their own aspect ratio`,
  );
}

export function siglip(json: unknown, parameters: ParameterReader, settings: EncoderSettings = {}): PatchBackbone {
  const config = parseConfig(siglipConfig, fixedResolution(json), "SigLIP");
  const { g, weights } = parameters;
  const { hidden_size: d, num_hidden_layers: depth, patch_size, layer_norm_eps: epsilon } = config;
  const layout = headLayout("SigLIP", "num_attention_heads", { width: d, heads: config.num_attention_heads });
  const shape: BlockShape = {
    width: d,
    layout,
    intermediateSize: config.intermediate_size,
    activation: activationName(config.hidden_act, "hidden_act"),
    epsilon,
    qkvBias: true,
  };
  const isPooled = settings.pooling === "attention";
  if (isPooled && !weights.has("attn_pool.latent")) {
    throw new EpalmError(
      "invalid_option",
      "pooling: expected mean for a SigLIP checkpoint without its attention pooling, got attention",
    );
  }

  /** Input of the first block: [B, N, d] */
  function enter(image: Value): Value {
    const { pixels, side } = coveredPixels(parameters, image, config);
    const patches = embedPatches(parameters, pixels, { image_size: side * patch_size, patch_size, hidden_size: d });
    return g.add(patches, positions(parameters, side * side, d));
  }

  /**
   * Normed patches [B, N, d] -> [B, 1, d]: attention with a learned query, and a feed-forward layer. The query is
   * projected together with the patches, because transformers stores all three projections as one.
   */
  function pool(patches: Value): Value {
    const query = g.repeatFor(parameters.tensor("attn_pool.latent", [1, 1, d]), patches);
    const joined = linear(g, g.concat([query, patches], 1), poolProjections());
    const [q, keysValues] = g.split(joined, [d, 2 * d], -1);
    const [keys, values] = g.split(g.slice(keysValues, 1, 1), [d, d], -1);
    const byHead = (x: Value) => splitHeads(g, x, layout.headSize);
    const mixed = attention(g, byHead(g.slice(q, 1, 0, 1)), { keys: byHead(keys), values: byHead(values) }, layout);
    const attended = linear(g, mixed, parameters.linear("attn_pool.proj", d, d, { bias: true }));
    return g.add(attended, feedForward(parameters, "attn_pool", attended, shape));
  }

  function poolProjections() {
    if (weights.has("attn_pool.qkv.weight")) return parameters.linear("attn_pool.qkv", d, 3 * d, { bias: true });
    return parameters.joined("attn_pool.qkv", ["attn_pool.q", "attn_pool.kv"], d, [d, 2 * d], { bias: true });
  }

  function through(pixels: Value): PatchStates {
    const block = (index: number, x: Value) => vitBlock(parameters, `blocks.${index}`, x, shape);
    const normed = (x: Value) => layerNorm(g, x, parameters.layerNorm("norm", d, epsilon));
    if (isPooled) {
      const indices = Array.from({ length: depth }, (_, index) => index);
      const patches = normed(indices.reduce((x, index) => block(index, x), enter(pixels)));
      return { classTokens: pool(patches), patches: () => patches };
    }
    const pooled = tokenPooling(settings, 0, "mean");
    const { classTokens, last } = throughBlocks(parameters, shape, depth, enter(pixels), block, pooled);
    return { classTokens, patches: () => normed(last) };
  }

  return {
    architecture: "siglip",
    modality: "image",
    inputShape: [3, config.image_size, config.image_size],
    depth: isPooled ? 1 : depth,
    width: d,
    states: (pixels) => through(pixels).classTokens,
    through,
  };
}
