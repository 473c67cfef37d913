import { vitBlockNames, vitName } from "./vit.js";

/** Names of a block's parts in transformers, in timm and in the published code, and those used here. */
const blockNames: Readonly<Record<string, string>> = {
  ...vitBlockNames,
  "layer_scale1.lambda1": "ls1.gamma",
  "layer_scale2.lambda1": "ls2.gamma",
  gamma_1: "ls1.gamma",
  gamma_2: "ls2.gamma",
  "attn.q_bias": "attn.q.bias",
  "attn.k_bias": "attn.k.bias",
  "attn.v_bias": "attn.v.bias",
  // Two linears of a gated feed-forward in one tensor, or the only first linear.
  "mlp.w12": "mlp.fc1",
  "mlp.weights_in": "mlp.fc1",
  // The two in tensors of their own.
  "mlp.w1": "mlp.gate",
  "mlp.w2": "mlp.up",
  "mlp.fc1_g": "mlp.gate",
  "mlp.fc1_x": "mlp.up",
  "mlp.gate_proj": "mlp.gate",
  "mlp.up_proj": "mlp.up",
  "mlp.w3": "mlp.fc2",
  "mlp.weights_out": "mlp.fc2",
  "mlp.down_proj": "mlp.fc2",
};

const outerNames: Readonly<Record<string, string>> = {
  "embeddings.register_tokens": "reg_token",
  register_tokens: "reg_token",
  storage_tokens: "reg_token",
  "embeddings.patch_embeddings.weight": "patch_embed.proj.weight",
  "embeddings.patch_embeddings.bias": "patch_embed.proj.bias",
  "rope_embed.periods": "rope.periods",
};

/**
 * The names that `dinov2.ts` and `dinov3.ts` use, which are those of timm; undefined if the tensor is not part of the
 * backbone. The published code of DINOv2 may divide blocks into chunks: `blocks.CHUNK.INDEX.norm1.weight`, where INDEX
 * counts all blocks.
 */
export function dinoName(name: string): string | undefined {
  const plain = name.replace(/^(dinov2|dinov2_with_registers|dinov3_vit|dinov3|model|module)\./, "");
  const outer = Object.hasOwn(outerNames, plain) ? outerNames[plain] : undefined;
  if (outer) return outer;
  // A norm of local crops exists only in training; one of the class token alone would change the states.
  if (/^local_cls_norm\./.test(plain)) return undefined;
  if (/^cls_norm\./.test(plain)) return plain;
  const block = /^(?:encoder\.layer|layers?|blocks(?:\.\d+(?=\.\d))?)\.(\d+)\.(.+)$/.exec(plain);
  if (!block) return vitName(plain);
  const [, index, part = ""] = block;
  const [, module = part, kind = ""] = /^(.+)(\.(?:weight|bias))$/.exec(part) ?? [];
  const known = Object.hasOwn(blockNames, module) ? blockNames[module] : undefined;
  return `blocks.${index}.${known ?? module}${kind}`;
}
