import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeSafetensors } from "../src/formats/safetensors.js";
import { elementCount, type Shape, type TensorSource } from "../src/tensor/tensor.js";

/**
 * Models with public shapes and random weights in public formats, for measurements. Weights are small enough that
 * activations stay finite; the output of such a model is meaningless.
 */

/** Values that are computed when they are read. */
export interface RandomTensor extends TensorSource {
  read(): Float32Array<ArrayBuffer>;
}

/** Normally distributed values that depend only on the name and are computed when they are read. */
export function random(shape: Shape, name: string, deviation: number, mean = 0): RandomTensor {
  return {
    type: "float32",
    shape,
    read() {
      let state = Array.from(name).reduce((hash, char) => Math.imul(hash ^ char.charCodeAt(0), 0x01000193), 0x811c9dc5);
      const uniform = () => {
        // xorshift32, because speed matters here and quality does not.
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        return (state >>> 0) / 2 ** 32;
      };
      // A sum of four uniform values is nearly normal and needs no logarithms.
      const scale = deviation * Math.sqrt(3);
      return new Float32Array(elementCount(shape)).map(
        () => mean + scale * (uniform() + uniform() + uniform() + uniform() - 2),
      );
    },
  };
}

/** A tensor of a public checkpoint: scales of norms are near 1, and everything else near 0. */
export function randomTensor(name: string, shape: Shape): RandomTensor {
  return random(shape, name, 0.02, shape.length === 1 && name.endsWith("weight") ? 1 : 0);
}

type Tensors = Map<string, RandomTensor>;

function weight(tensors: Tensors, name: string, shape: Shape): void {
  tensors.set(name, random(shape, name, 0.02));
}

function linear(tensors: Tensors, name: string, inputs: number, outputs: number): void {
  weight(tensors, `${name}.weight`, [outputs, inputs]);
  weight(tensors, `${name}.bias`, [outputs]);
}

function norm(tensors: Tensors, name: string, width: number): void {
  tensors.set(`${name}.weight`, random([width], name, 0.02, 1));
  weight(tensors, `${name}.bias`, [width]);
}

/** Large models are written as they are published, in half the size. */
function asBfloat16({ shape, read }: RandomTensor): TensorSource {
  const upperHalves = () => {
    const bits = new Uint32Array(read().buffer);
    const halves = new Uint16Array(bits.length);
    // A loop, because `Uint16Array.from` first collects all values in a list, which can exceed the heap.
    for (const [index, value] of bits.entries()) halves[index] = value >>> 16;
    return halves;
  };
  return { type: "bfloat16", shape, read: upperHalves };
}

export function writeFolder(folder: string, config: object, tensors: ReadonlyMap<string, TensorSource>): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
}

/** A tokenizer whose vocabulary contains only bytes, which is sufficient for prompts. */
export function writeTokenizer(folder: string): void {
  const vocabulary = ["<s>", "<pad>", "</s>", ...byteLevelAlphabet()];
  const json = {
    version: "1.0",
    added_tokens: [
      {
        id: 2,
        content: "</s>",
        special: true,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
      },
    ],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: "BPE", vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])), merges: [] },
  };
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(json));
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ tokenizer_class: "GPT2Tokenizer" }));
}

/** GPT-2's printable characters for the 256 bytes. */
function byteLevelAlphabet(): string[] {
  const isPrintable = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

/** The shape of facebook/opt-125m. */
export function writeOpt125m(folder: string): void {
  writeOpt(folder, { d: 768, layers: 12, heads: 12 });
}

/** The width and depth of facebook/opt-350m, in the form of the other sizes. */
export function writeOpt350m(folder: string): void {
  writeOpt(folder, { d: 1024, layers: 24, heads: 16 });
}

/** The shape of facebook/opt-1.3b. */
export function writeOpt1300m(folder: string): void {
  writeOpt(folder, { d: 2048, layers: 24, heads: 32 });
}

/** The shape of facebook/opt-2.7b. */
export function writeOpt2700m(folder: string): void {
  writeOpt(folder, { d: 2560, layers: 32, heads: 32 });
}

interface TransformerShape {
  readonly d: number;
  readonly layers: number;
  readonly heads: number;
}

/** Above this width, weights are written as bfloat16. */
const LARGE_WIDTH = 1024;

function writeOpt(folder: string, { d, layers, heads }: TransformerShape): void {
  const vocabulary = 50272;
  const tensors: Tensors = new Map();
  weight(tensors, "model.decoder.embed_tokens.weight", [vocabulary, d]);
  weight(tensors, "model.decoder.embed_positions.weight", [2050, d]);
  for (let layer = 0; layer < layers; layer++) {
    const name = `model.decoder.layers.${layer}`;
    for (const part of ["q_proj", "k_proj", "v_proj", "out_proj"]) linear(tensors, `${name}.self_attn.${part}`, d, d);
    linear(tensors, `${name}.fc1`, d, 4 * d);
    linear(tensors, `${name}.fc2`, 4 * d, d);
    for (const part of ["self_attn_layer_norm", "final_layer_norm"]) norm(tensors, `${name}.${part}`, d);
  }
  norm(tensors, "model.decoder.final_layer_norm", d);
  writeFolder(
    folder,
    {
      model_type: "opt",
      hidden_size: d,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      ffn_dim: 4 * d,
      vocab_size: vocabulary,
      max_position_embeddings: 2048,
      word_embed_proj_dim: d,
      bos_token_id: 2,
      eos_token_id: 2,
    },
    d > LARGE_WIDTH ? new Map(Array.from(tensors, ([name, tensor]) => [name, asBfloat16(tensor)])) : tensors,
  );
  writeTokenizer(folder);
}

/** The shape of SmolLM2-135M. */
export function writeSmolLm135m(folder: string): void {
  const [d, layers, vocabulary, inner, keyWidth] = [576, 30, 49152, 1536, 192];
  const tensors: Tensors = new Map();
  const scale = (name: string) => tensors.set(`${name}.weight`, random([d], name, 0.02, 1));
  weight(tensors, "model.embed_tokens.weight", [vocabulary, d]);
  for (let layer = 0; layer < layers; layer++) {
    const name = `model.layers.${layer}`;
    weight(tensors, `${name}.self_attn.q_proj.weight`, [d, d]);
    weight(tensors, `${name}.self_attn.k_proj.weight`, [keyWidth, d]);
    weight(tensors, `${name}.self_attn.v_proj.weight`, [keyWidth, d]);
    weight(tensors, `${name}.self_attn.o_proj.weight`, [d, d]);
    weight(tensors, `${name}.mlp.gate_proj.weight`, [inner, d]);
    weight(tensors, `${name}.mlp.up_proj.weight`, [inner, d]);
    weight(tensors, `${name}.mlp.down_proj.weight`, [d, inner]);
    for (const part of ["input_layernorm", "post_attention_layernorm"]) scale(`${name}.${part}`);
  }
  scale("model.norm");
  writeFolder(
    folder,
    {
      model_type: "llama",
      hidden_size: d,
      intermediate_size: inner,
      num_hidden_layers: layers,
      num_attention_heads: 9,
      num_key_value_heads: 3,
      vocab_size: vocabulary,
      max_position_embeddings: 8192,
      rms_norm_eps: 1e-5,
      rope_theta: 100000,
      tie_word_embeddings: true,
      bos_token_id: 2,
      eos_token_id: 2,
    },
    tensors,
  );
  writeTokenizer(folder);
}

/** The shape of google/vit-base-patch16-224, with timm's names. */
export function writeVitBase(folder: string): void {
  const [d, depth] = [768, 12];
  const tensors: Tensors = new Map();
  weight(tensors, "cls_token", [1, 1, d]);
  weight(tensors, "pos_embed", [1, 197, d]);
  weight(tensors, "patch_embed.proj.weight", [d, 3, 16, 16]);
  weight(tensors, "patch_embed.proj.bias", [d]);
  for (let block = 0; block < depth; block++) {
    const name = `blocks.${block}`;
    linear(tensors, `${name}.attn.qkv`, d, 3 * d);
    linear(tensors, `${name}.attn.proj`, d, d);
    linear(tensors, `${name}.mlp.fc1`, d, 4 * d);
    linear(tensors, `${name}.mlp.fc2`, 4 * d, d);
    for (const part of ["norm1", "norm2"]) norm(tensors, `${name}.${part}`, d);
  }
  norm(tensors, "norm", d);
  writeFolder(folder, { architecture: "vit_base_patch16_224" }, tensors);
}

/** An adapter for these shapes with the paper's smallest setting: shared projection, one soft token. */
export function writeRandomAdapter(path: string, encoderWidth: number, decoderWidth: number): void {
  const tensors: Tensors = new Map();
  linear(tensors, "connector.0", encoderWidth, decoderWidth);
  weight(tensors, "prompt_module.prefix_embedding.0.weight", [1, decoderWidth]);
  writeSafetensors(path, tensors);
}
