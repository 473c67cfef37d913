import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseConfig } from "../src/backbones/config.js";
import { llamaConfig } from "../src/backbones/decoders/llama.js";
import { EpalmError } from "../src/core/errors.js";
import type { Checkpoint } from "../src/formats/checkpoint.js";
import { openSafetensors } from "../src/formats/safetensors.js";
import type { TensorSource } from "../src/tensor/tensor.js";
import { byteCount, type GgufTensor, type GgufTensorType, type GgufValue, writeGguf } from "./gguf.js";

type LlamaConfig = ReturnType<typeof llamaConfig.parse>;

/** llama.cpp's names of a layer's matrices and norms, by transformers' names. */
const layerNames = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
} as const;

/**
 * Writes the same weights for llama.cpp: matrices in the given type, norms in F32. The head must be tied. Beside Q4_0,
 * it is Q8_0, as in epalm's int4. llama.cpp's own tool writes it in the same type for widths that are no multiple of
 * 256.
 */
export function writeLlamaGguf(folder: string, path: string, type: GgufTensorType): void {
  withTensors(folder, type, (config, tensors) => writeGguf(path, metadataOf(config), tensors));
}

/** Bytes of weights that llama.cpp reads in one decoding step. */
export function llamaWeightBytes(folder: string, type: GgufTensorType): number {
  return withTensors(folder, type, (_, tensors) =>
    Array.from(tensors.values()).reduce((sum, tensor) => sum + byteCount(tensor.type, tensor.source.shape), 0),
  );
}

function withTensors<Result>(
  folder: string,
  type: GgufTensorType,
  use: (config: LlamaConfig, tensors: ReadonlyMap<string, GgufTensor>) => Result,
): Result {
  const json: unknown = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
  const config = parseConfig(llamaConfig, json, "Llama");
  const checkpoint = openSafetensors(join(folder, "model.safetensors"));
  try {
    return use(config, tensorsOf(config, checkpoint, type));
  } finally {
    checkpoint.close();
  }
}

function metadataOf(config: LlamaConfig): Map<string, GgufValue> {
  const keyHeads = config.num_key_value_heads ?? config.num_attention_heads;
  const counts = {
    "llama.context_length": config.max_position_embeddings,
    "llama.embedding_length": config.hidden_size,
    "llama.block_count": config.num_hidden_layers,
    "llama.feed_forward_length": config.intermediate_size,
    "llama.attention.head_count": config.num_attention_heads,
    "llama.attention.head_count_kv": keyHeads,
    "llama.rope.dimension_count": config.head_dim ?? config.hidden_size / config.num_attention_heads,
    "llama.vocab_size": config.vocab_size,
  };
  const numbers = {
    "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
    "llama.rope.freq_base": config.rope_theta ?? 10_000,
  };
  const names = {
    "general.architecture": "llama",
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "default",
  };
  // Only token ids are used, but llama.cpp requires a vocabulary that contains a line feed among its bytes.
  const lists = {
    "tokenizer.ggml.tokens": Array.from({ length: config.vocab_size }, (_, id) => (id === 0 ? "\u010a" : `<${id}>`)),
    "tokenizer.ggml.merges": ["< >"],
  };
  return new Map<string, GgufValue>([
    ...Object.entries(names).map(([key, value]) => [key, { kind: "string", value }] as const),
    ...Object.entries(lists).map(([key, value]) => [key, { kind: "strings", value }] as const),
    ...Object.entries(counts).map(([key, value]) => [key, { kind: "uint32", value }] as const),
    ...Object.entries(numbers).map(([key, value]) => [key, { kind: "float32", value }] as const),
  ]);
}

function tensorsOf(config: LlamaConfig, checkpoint: Checkpoint, type: GgufTensorType): Map<string, GgufTensor> {
  const weight = (name: string): GgufTensor => {
    const source = checkpoint.tensors.get(`${name}.weight`);
    if (!source) throw new EpalmError("invalid_checkpoint", `${checkpoint.path}: tensor ${name}.weight is missing`);
    return { type: source.shape.length === 1 ? "F32" : type, source };
  };
  const table = weight("model.embed_tokens");
  const tensors = new Map([["token_embd.weight", type === "Q4_0" ? { ...table, type: "Q8_0" as const } : table]]);
  const keyHeads = config.num_key_value_heads ?? config.num_attention_heads;
  const headsOf: Readonly<Record<string, number>> = { attn_q: config.num_attention_heads, attn_k: keyHeads };
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    for (const [from, to] of Object.entries(layerNames)) {
      const tensor = weight(`model.layers.${layer}.${from}`);
      const heads = headsOf[to];
      const source = heads === undefined ? tensor.source : neighbouringPairs(tensor.source, heads);
      tensors.set(`blk.${layer}.${to}.weight`, { ...tensor, source });
    }
  }
  return tensors.set("output_norm.weight", weight("model.norm"));
}

/**
 * Rotary positions rotate pairs of elements: row i of a head and row i + size / 2 in transformers, adjacent rows in
 * llama.cpp. Rows [heads, 2, size / 2] become [heads, size / 2, 2].
 */
function neighbouringPairs(source: TensorSource, heads: number): TensorSource {
  const [rows = 0, width = 0] = source.shape;
  const half = rows / heads / 2;
  return {
    ...source,
    read() {
      const from = source.read() as Float32Array;
      const to = new Float32Array(from.length);
      for (let row = 0; row < rows; row++) {
        const [head, side, pair] = [Math.floor(row / (2 * half)), Math.floor(row / half) % 2, row % half];
        const target = (head * half + pair) * 2 + side;
        to.set(from.subarray(row * width, (row + 1) * width), target * width);
      }
      return to;
    },
  };
}
