import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import { linear } from "../../layers/linear.js";
import { layerNorm } from "../../layers/norm.js";
import { count, headLayout, layerCount, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { embedPatches, patchesPerSide, vitBlockNames, vitConfig, vitName } from "./vit.js";
import { type BlockShape, vitBlock } from "./vit-block.js";

/**
 * Masked autoencoder (He et al. 2021, arXiv 2111.06377): a ViT that sees a quarter of the patches, and a small
 * decoder that predicts the pixels of the others. It follows `models_mae.py` of facebookresearch/mae and uses its
 * tensor names; `maeName` converts the names of transformers (`modeling_vit_mae.py`).
 */

export const maeConfig = vitConfig.extend({
  model_type: z.literal("vit_mae"),
  decoder_hidden_size: count,
  decoder_num_hidden_layers: layerCount,
  decoder_num_attention_heads: count,
  decoder_intermediate_size: count,
  mask_ratio: z.number().gt(0).lt(1).default(0.75),
  norm_pix_loss: z.boolean().default(false),
});

export type MaeConfig = z.infer<typeof maeConfig>;

/** Added to a patch's variance before the square root, as published. */
const VARIANCE_EPSILON = 1e-6;

/** The published name of a tensor; undefined if the tensor is not part of a masked autoencoder. */
export function maeName(name: string): string | undefined {
  const plain = name.replace(/^(module|model)\./, "").replace(/^decoder\./, "");
  const block = /^decoder_(?:layers|encoder\.layer)\.(\d+)\.(.+)\.(weight|bias)$/.exec(plain);
  const [, index, part = "", kind] = block ?? [];
  if (block) return `decoder_blocks.${index}.${vitBlockNames[part] ?? part}.${kind}`;
  return /^(decoder_\w+|mask_token)\b/.test(plain) ? plain : vitName(name);
}

/**
 * How many of an image's N patches the encoder sees.
 *
 * @throws `unsupported_architecture` if there would be none
 */
export function visiblePatches(config: MaeConfig): number {
  const patches = patchesPerSide(config) ** 2;
  const visible = Math.floor(patches * (1 - config.mask_ratio));
  if (visible > 0) return visible;
  throw new EpalmError(
    "unsupported_architecture",
    `MAE config.json: 'mask_ratio': ${config.mask_ratio} leaves none of ${patches} patches visible`,
  );
}

/** The visible patches of a batch of B images with N patches each, V of which are visible. */
export interface MaskInputs {
  /** int64 [B * V]: image * N + patch. */
  readonly visibleRows: Value;
  /** int64 [B * N]: for each patch its row among the visible patches, or B * V if it is masked. */
  readonly restoreRows: Value;
}

export interface Mae {
  /** N */
  readonly patches: number;
  /** V */
  readonly visible: number;
  /** pixels [B, 3, H, W] -> the decoder's prediction for each patch: [B, N, patch^2 * 3], channels last. */
  predict(pixels: Value, mask: MaskInputs): Value;
  /** pixels [B, 3, H, W] -> the pixels to predict: [B, N, patch^2 * 3]. */
  target(pixels: Value): Value;
}

export function mae(json: unknown, parameters: ParameterReader): Mae {
  const config = parseConfig(maeConfig, json, "MAE");
  const { g } = parameters;
  const { hidden_size: d, decoder_hidden_size: dd, patch_size: patch, layer_norm_eps: epsilon } = config;
  const side = patchesPerSide(config);
  const [patches, visible] = [side * side, visiblePatches(config)];
  const common = {
    activation: activationName(config.hidden_act, "hidden_act"),
    epsilon,
    qkvBias: config.qkv_bias,
  };
  const encoderShape: BlockShape = {
    ...common,
    width: d,
    layout: headLayout("MAE", "num_attention_heads", { width: d, heads: config.num_attention_heads }),
    intermediateSize: config.intermediate_size,
  };
  const decoderHeads = { width: dd, heads: config.decoder_num_attention_heads };
  const decoderShape: BlockShape = {
    ...common,
    width: dd,
    layout: headLayout("MAE", "decoder_num_attention_heads", decoderHeads),
    intermediateSize: config.decoder_intermediate_size,
  };
  const norm = (name: string, x: Value) => layerNorm(g, x, parameters.layerNorm(name, Number(x.shape.at(-1)), epsilon));

  /** -> [B, 1 + V, d], the class token first */
  function encode(pixels: Value, { visibleRows }: MaskInputs): Value {
    const positions = parameters.tensor("pos_embed", [1, patches + 1, d]);
    const embedded = g.add(embedPatches(parameters, pixels, config), g.slice(positions, 1, 1));
    const seen = g.reshape(g.gather(g.reshape(embedded, [-1, d]), visibleRows), [-1, visible, d]);
    const classToken = g.add(parameters.tensor("cls_token", [1, 1, d]), g.slice(positions, 1, 0, 1));
    let x = g.concat([g.repeatFor(classToken, pixels), seen], 1);
    for (let index = 0; index < config.num_hidden_layers; index++) {
      x = g.scope(`blocks.${index}`, () => vitBlock(parameters, `blocks.${index}`, x, encoderShape));
    }
    return norm("norm", x);
  }

  /** [B, 1 + V, d] -> [B, N, patch^2 * 3] */
  function decode(encoded: Value, { restoreRows }: MaskInputs): Value {
    const x = linear(g, encoded, parameters.linear("decoder_embed", d, dd, { bias: true }));
    const seen = g.reshape(g.slice(x, 1, 1), [-1, dd]);
    const masked = g.reshape(parameters.tensor("mask_token", [1, 1, dd]), [1, dd]);
    const all = g.gather(g.concat([seen, masked], 0), restoreRows);
    const tokens = g.concat([g.slice(x, 1, 0, 1), g.reshape(all, [-1, patches, dd])], 1);
    let hidden = g.add(tokens, parameters.tensor("decoder_pos_embed", [1, patches + 1, dd]));
    for (let index = 0; index < config.decoder_num_hidden_layers; index++) {
      const name = `decoder_blocks.${index}`;
      hidden = g.scope(name, () => vitBlock(parameters, name, hidden, decoderShape));
    }
    const outputs = patch * patch * 3;
    const pixels = parameters.linear("decoder_pred", dd, outputs, { bias: true });
    return linear(g, g.slice(norm("decoder_norm", hidden), 1, 1), pixels);
  }

  return {
    patches,
    visible,
    predict: (pixels, mask) => decode(encode(pixels, mask), mask),
    target(pixels) {
      const cut = g.reshape(pixels, [0, 3, side, patch, side, patch]);
      const raw = g.reshape(g.transpose(cut, [0, 2, 4, 3, 5, 1]), [0, patches, patch * patch * 3]);
      if (!config.norm_pix_loss) return raw;
      const centred = g.subtract(raw, g.mean(raw, -1));
      const size = patch * patch * 3;
      const variance = g.divide(g.sum(g.multiply(centred, centred), [-1], true), g.number(size - 1));
      return g.divide(centred, g.squareRoot(g.add(variance, g.number(VARIANCE_EPSILON))));
    },
  };
}
