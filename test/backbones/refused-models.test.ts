import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { astConfigFromTensors } from "../../src/backbones/encoders/ast.js";
import { timesformerConfigFromTensors } from "../../src/backbones/encoders/timesformer.js";
import { vitConfigFromTensors } from "../../src/backbones/encoders/vit.js";
import type { TensorSource } from "../../src/tensor/tensor.js";
import {
  buildDecoder,
  buildEncoder,
  type Config,
  changed,
  openWeights,
  readConfig,
  zeros,
} from "../support/tiny-backbones.js";

const isEncoder = (name: string) => /^(vit|deit$|dino|ast$|timesformer$|videomae$|vjepa2$)/.test(name);

function build(name: string, weights: Readonly<Record<string, TensorSource | undefined>>, config: Config) {
  const checkpoint = changed(openWeights(name), weights);
  const whole = { ...readConfig(name), ...config };
  return isEncoder(name) ? buildEncoder(checkpoint, whole) : buildDecoder(checkpoint, whole);
}

const misfits: readonly (readonly [string, Record<string, TensorSource | undefined>, RegExp])[] = [
  [
    "gpt2",
    { "transformer.h.1.mlp.c_fc.bias": undefined },
    /model\.safetensors: tensor h\.1\.mlp\.c_fc\.bias is missing/,
  ],
  ["gpt2", { "transformer.h.9.extra": zeros(3) }, /unexpected tensor transformer\.h\.9\.extra/],
  [
    "gpt2",
    { "transformer.h.0.attn.c_attn.weight": zeros(3, 5) },
    /transformer\.h\.0\.attn\.c_attn\.weight: expected shape \[32, 96\], got \[3, 5\]/,
  ],
  ["opt-gelu", { "model.decoder.final_layer_norm.bias": undefined }, /tensor final_layer_norm\.bias is missing/],
  ["opt-post-norm", { "model.decoder.final_layer_norm.bias": zeros(32) }, /unexpected tensor .*final_layer_norm\.bias/],
  ["qwen2-tied", { "model.layers.0.self_attn.q_proj.bias": undefined }, /self_attn\.q_proj\.bias is missing/],
  ["qwen2-untied", { "lm_head.weight": undefined }, /tensor lm_head\.weight is missing/],
  ["qwen2-tied", { "lm_head.weight": zeros(60, 32) }, /lm_head\.weight: expected shape \[64, 32\], got \[60, 32\]/],
  [
    "gpt-neox",
    { "gpt_neox.layers.0.attention.query_key_value.weight": zeros(24, 72) },
    /query_key_value\.weight: expected shape \[72, 24\], got \[24, 72\]/,
  ],
  ["gpt-neox-sequential", { "embed_out.weight": zeros(60, 24) }, /embed_out\.weight: expected shape \[64, 24\]/],
  [
    "phi3-window",
    { "model.layers.0.self_attn.qkv_proj.weight": zeros(48, 24) },
    /qkv_proj\.weight: expected shape \[72, 24\], got \[48, 24\]/,
  ],
  ["phi3-window", { "model.layers.1.mlp.gate_up_proj.weight": undefined }, /gate_up_proj\.weight is missing/],
  [
    "bloom",
    { "transformer.word_embeddings_layernorm.weight": undefined },
    /tensor word_embeddings_layernorm\.weight is missing/,
  ],
  [
    "bloom",
    { "transformer.h.2.self_attention.query_key_value.weight": zeros(24, 72) },
    /query_key_value\.weight: expected shape \[72, 24\], got \[24, 72\]/,
  ],
  ["gptj", { "lm_head.bias": undefined }, /tensor lm_head\.bias is missing/],
  ["llama3-scaling", { "model.layers.0.self_attn.q_proj.bias": zeros(32) }, /unexpected tensor .*q_proj\.bias/],
  ["vit", { "vit.layernorm.weight": undefined }, /tensor norm\.weight is missing/],
  ["vit", { "vit.encoder.layer.0.layer_scale.lambda": zeros(32) }, /unexpected tensor .*layer_scale/],
  ["dinov2-giant", { "encoder.layer.1.layer_scale2.lambda1": undefined }, /tensor blocks\.1\.ls2\.gamma is missing/],
  [
    "dinov2-giant",
    { "embeddings.register_tokens": zeros(1, 4, 24) },
    /register_tokens: expected shape \[1, 0, 24\], got \[1, 4, 24\]/,
  ],
  ["dinov3", { "layer.0.attention.k_proj.bias": zeros(24) }, /unexpected tensor layer\.0\.attention\.k_proj\.bias/],
  ["dinov3-gated", { "layer.0.mlp.gate_proj.weight": undefined }, /tensor blocks\.0\.mlp\.gate\.weight is missing/],
  [
    "deit",
    { "embeddings.position_embeddings": zeros(1, 17, 32) },
    /embeddings\.position_embeddings: expected shape \[1, 18, 32\], got \[1, 17, 32\]/,
  ],
  [
    "ast",
    { "audio_spectrogram_transformer.embeddings.position_embeddings": zeros(1, 38, 32) },
    /position_embeddings: expected shape \[1, 32, 32\], got \[1, 38, 32\]/,
  ],
  ["ast", { "audio_spectrogram_transformer.embeddings.distillation_token": undefined }, /tensor dist_token is missing/],
  [
    "timesformer",
    { "timesformer.embeddings.time_embeddings": zeros(1, 8, 32) },
    /time_embeddings: expected shape \[1, 3, 32\], got \[1, 8, 32\]/,
  ],
  [
    "timesformer",
    { "timesformer.encoder.layer.1.temporal_dense.weight": undefined },
    /tensor blocks\.1\.temporal_fc\.weight is missing/,
  ],
  ["videomae", { "videomae.layernorm.weight": undefined }, /tensor norm\.weight is missing/],
  ["vjepa2", { "encoder.layer.1.attention.key.weight": undefined }, /tensor blocks\.1\.attn\.k\.weight is missing/],
  ["vjepa2", { "encoder.embeddings.mask_token": zeros(32) }, /unexpected tensor encoder\.embeddings\.mask_token/],
];

describe("checkpoints that do not fit", () => {
  for (const [name, weights, message] of misfits) {
    it(`are rejected, naming the tensor: ${name}, ${message.source}`, () => {
      assert.throws(() => build(name, weights, {}), { name: "EpalmError", message });
    });
  }
});

const unsupported: readonly (readonly [what: string, name: string, Config, RegExp])[] = [
  ["unknown decoder", "gpt2", { model_type: "mamba" }, /'model_type': expected a decoder \(.*\), got 'mamba'/],
  ["unknown encoder", "vit", { model_type: "swin" }, /'model_type': expected an encoder \(.*\), got 'swin'/],
  ["no architecture", "gpt2", { model_type: "toString" }, /got 'toString'/],
  ["unknown activation, GPT-2", "gpt2", { activation_function: "swish9" }, /activation_function: .*'swish9'/],
  ["unknown activation, OPT", "opt-gelu", { activation_function: "constructor" }, /got 'constructor'/],
  ["unknown activation, Llama", "llama3-scaling", { hidden_act: "xielu" }, /hidden_act: .*got 'xielu'/],
  ["unknown activation, ViT", "vit", { hidden_act: "mish" }, /hidden_act: .*got 'mish'/],
  ["attention scaled by layer", "gpt2", { scale_attn_by_inverse_layer_idx: true }, /'scale_attn_by_inverse/],
  ["attention that is not scaled", "gpt2", { scale_attn_weights: false }, /'scale_attn_weights'/],
  ["an untied GPT-2", "gpt2", { tie_word_embeddings: false }, /'tie_word_embeddings'/],
  ["an untied OPT", "opt-gelu", { tie_word_embeddings: false }, /'tie_word_embeddings'/],
  ["an OPT without biases", "opt-gelu", { enable_bias: false }, /'enable_bias'/],
  ["norms without scales", "opt-gelu", { layer_norm_elementwise_affine: false }, /'layer_norm_elementwise/],
  [
    "a window without a size",
    "qwen2-window",
    { sliding_window: null },
    /'sliding_window': layers with sliding_attention/,
  ],
  [
    "a window that is not in use",
    "qwen3-tied",
    { layer_types: ["full_attention", "sliding_attention"] },
    /'sliding_window': layers with sliding_attention/,
  ],
  ["types for other layers", "qwen3-tied", { layer_types: ["full_attention"] }, /'layer_types': .* 2 layers, got 1/],
  ["layers of another type", "gemma2", { layer_types: ["chunked_attention"] }, /'layer_types\[0\]'/],
  ["positions for other layers", "smollm3", { no_rope_layers: [1, 0] }, /'no_rope_layers': expected 5 numbers, got 2/],
  [
    "attention in both directions",
    "gemma3-text",
    { use_bidirectional_attention: true },
    /'use_bidirectional_attention'/,
  ],
  ["heads of an odd size, Gemma", "gemma2", { head_dim: 7 }, /'head_dim': .* got 7/],
  [
    "rotary scaling without its factors, Gemma",
    "gemma3-text",
    { rope_parameters: { full_attention: { rope_type: "longrope" } } },
    /Gemma config\.json: 'short_factor': expected 6 numbers, one for each pair, got none/,
  ],
  [
    "unknown rotary scaling",
    "llama3-scaling",
    { rope_parameters: { rope_type: "proportional" } },
    /got 'proportional'/,
  ],
  [
    "unknown rotary scaling of transformers 4",
    "llama3-scaling",
    { rope_parameters: undefined, rope_scaling: { type: "ntk", factor: 2 } },
    /Llama config\.json: rope_scaling: expected default, .* or longrope, got 'ntk'/,
  ],
  [
    "an odd number of rotated elements, GPT-NeoX",
    "gpt-neox",
    { rope_parameters: { partial_rotary_factor: 0.6 } },
    /GPT-NeoX config\.json: 'partial_rotary_factor': .* got 7/,
  ],
  [
    "more rotated elements than a head has, GPT-NeoX",
    "gpt-neox",
    { rope_parameters: { partial_rotary_factor: 1.5 } },
    /'rope_parameters\.partial_rotary_factor'/,
  ],
  [
    "no rotated elements",
    "gpt-neox",
    { rope_parameters: null, rotary_pct: 0.01 },
    /'partial_rotary_factor': .* head size of 12, got 0/,
  ],
  [
    "more rotated elements than a head has, GPT-J",
    "gptj",
    { rotary_dim: 14 },
    /GPT-J config\.json: 'rotary_dim': .* of 12, got 14/,
  ],
  ["an odd number of rotated elements, GPT-J", "gptj", { rotary_dim: 5 }, /'rotary_dim': expected an even number/],
  ["positions without a number of rotated elements", "gptj", { rotary_dim: null }, /'rotary_dim'/],
  ["heads that do not divide the width, GPT-J", "gptj", { n_head: 5 }, /'n_head': 5 heads do not divide/],
  ["heads that do not divide the width, BLOOM", "bloom", { n_head: 5 }, /'n_head': 5 heads do not divide/],
  ["no heads, BLOOM", "bloom", { n_head: 0 }, /BLOOM config\.json: 'n_head'/],
  ["no width, BLOOM", "bloom", { hidden_size: undefined }, /BLOOM config\.json: 'hidden_size'/],
  ["unknown activation, GPT-NeoX", "gpt-neox", { hidden_act: "swish9" }, /hidden_act: .*'swish9'/],
  [
    "factors for another number of pairs",
    "phi4-longrope",
    { partial_rotary_factor: undefined, rope_parameters: { rope_type: "longrope", short_factor: [1, 1, 1] } },
    /Phi-3 config\.json: 'short_factor': expected 4 numbers, .* got 3/,
  ],
  [
    "LongRoPE without factors",
    "phi4-longrope",
    { rope_parameters: { rope_type: "longrope" } },
    /'short_factor': .* got none/,
  ],
  [
    "rotary scaling that Phi-3 lacks",
    "phi3-window",
    { rope_parameters: { rope_type: "llama3" } },
    /rope_scaling: expected default or longrope, got 'llama3'/,
  ],
  ["scaling without its factor", "llama3-scaling", { rope_parameters: { rope_type: "linear" } }, /needs 'factor'/],
  [
    "rotation of a part of each head",
    "llama3-scaling",
    { rope_parameters: { rope_type: "default", partial_rotary_factor: 0.5 } },
    /'rope_parameters\.partial_rotary_factor'/,
  ],
  ["spectrograms shorter than a patch", "ast", { max_length: 7 }, /'max_length': .* patch of 8, got 7/],
  ["fewer mel bins than a patch", "ast", { num_mel_bins: 4 }, /'num_mel_bins': .* patch of 8, got 4/],
  ["a stride of zero", "ast", { time_stride: 0 }, /'time_stride'/],
  ["patches that are not square", "ast", { patch_size: [16, 8] }, /'patch_size'/],
  ["heads that do not divide the width, AST", "ast", { num_attention_heads: 5 }, /'num_attention_heads': 5/],
  ["attention in space only", "timesformer", { attention_type: "space_only" }, /'attention_type'/],
  [
    "attention in space and time at once",
    "timesformer",
    { attention_type: "joint_space_time" },
    /TimeSformer config\.json: 'attention_type'/,
  ],
  ["more frames than any model has", "timesformer", { num_frames: 100_000 }, /'num_frames'/],
  [
    "frames that patches do not divide",
    "timesformer",
    { image_size: 20 },
    /TimeSformer config\.json: 'image_size': patches of 8/,
  ],
  [
    "frames that tubelets do not divide",
    "videomae",
    { num_frames: 5 },
    /VideoMAE config\.json: 'num_frames': expected a multiple of the tubelet size, 2, got 5/,
  ],
  ["patches that do not divide a frame", "videomae", { image_size: 20 }, /VideoMAE config\.json: 'image_size'/],
  ["frames that are not square", "videomae", { image_size: [16, 32] }, /VideoMAE config\.json: 'image_size'/],
  ["heads that do not divide the width, VideoMAE", "videomae", { num_attention_heads: 5 }, /'num_attention_heads': 5/],
  [
    "frames that tubelets do not divide, V-JEPA 2",
    "vjepa2",
    { frames_per_clip: 5 },
    /V-JEPA 2 config\.json: 'frames_per_clip': expected a multiple of the tubelet size, 2, got 5/,
  ],
  [
    "patches that do not divide a crop",
    "vjepa2",
    { crop_size: 20 },
    /V-JEPA 2 config\.json: 'crop_size': patches of 8/,
  ],
  ["heads that are too small to rotate", "vjepa2", { num_attention_heads: 8 }, /heads of at least 6 elements, got 4/],
  ["images with one channel", "vit", { num_channels: 1 }, /'num_channels'/],
  ["patches that do not divide an image", "vit", { image_size: 30 }, /'image_size': patches of 8 do not divide 30/],
  ["images that are not square", "vit", { image_size: [32, 64] }, /'image_size'/],
  ["heads that do not divide the width, GPT-2", "gpt2", { n_head: 5 }, /'n_head': 5 heads do not divide .* 32/],
  ["heads that do not divide the width, OPT", "opt-gelu", { num_attention_heads: 3 }, /'num_attention_heads': 3/],
  ["heads that do not divide the width, ViT", "vit", { num_attention_heads: 7 }, /'num_attention_heads': 7/],
  [
    "key/value heads that do not divide the heads",
    "qwen2-tied",
    { num_key_value_heads: 3 },
    /3 key heads do not divide 4 heads/,
  ],
  ["heads of an odd size", "llama3-scaling", { head_dim: 7 }, /'head_dim': .* got 7/],
  ["absurd sizes", "opt-gelu", { hidden_size: 1e12 }, /'hidden_size'/],
  ["absurd depth", "opt-gelu", { num_hidden_layers: 1_000_000 }, /'num_hidden_layers'/],
  ["sizes that are not numbers", "vit", { hidden_size: "32" }, /'hidden_size'/],
  ["missing sizes", "llama3-scaling", { vocab_size: undefined }, /'vocab_size'/],
  ["sizes below one", "gpt2", { n_layer: 0 }, /'n_layer'/],
];

describe("configs that are not supported", () => {
  for (const [what, name, config, message] of unsupported) {
    it(`are rejected, naming the key: ${what}`, () => {
      assert.throws(() => build(name, {}, config), { code: "unsupported_architecture", message });
    });
  }
});

describe("AST weights without a config", () => {
  const shapes = (tokens: number): Readonly<Record<string, readonly number[]>> => ({
    "patch_embed.proj.weight": [768, 1, 16, 16],
    pos_embed: [1, 2 + tokens, 768],
    "blocks.0.mlp.fc1.weight": [3072, 768],
    "blocks.0.norm1.weight": [768],
  });
  // Tokens and strides of the published models: four strides for AudioSet, stride 10 for Speech Commands and ESC-50.
  const published: readonly (readonly [tokens: number, stride: number, frames: number])[] = [
    [1212, 10, 1024],
    [850, 12, 1024],
    [657, 14, 1024],
    [512, 16, 1024],
    [144, 10, 126],
    [600, 10, 506],
  ];
  for (const [tokens, stride, frames] of published) {
    it(`determine strides and length by the number of positions: ${tokens}`, () => {
      const config = astConfigFromTensors((name) => shapes(tokens)[name]);
      assert.deepEqual(
        [config.frequency_stride, config.time_stride, config.max_length, config.layer_norm_eps],
        [stride, stride, frames, 1e-6],
      );
    });
  }

  it("are rejected if the positions do not form a rectangle", () => {
    const message = /audio spectrogram transformer config\.json: 'max_length'/;
    assert.throws(() => astConfigFromTensors((name) => shapes(1213)[name]), { name: "EpalmError", message });
  });
});

describe("weights without a config that do not determine a vision transformer", () => {
  const shapes: Readonly<Record<string, readonly number[]>> = {
    "patch_embed.proj.weight": [128, 3, 4, 4],
    pos_embed: [1, 17, 128],
    "blocks.0.mlp.fc1.weight": [32, 128],
    "blocks.0.norm1.weight": [128],
  };
  const cases: readonly (readonly [string, Record<string, readonly number[] | undefined>, RegExp])[] = [
    [
      "patches are missing",
      { "patch_embed.proj.weight": undefined },
      /needs tensor patch_embed\.proj\.weight of 4 axes/,
    ],
    ["positions have two axes", { pos_embed: [17, 128] }, /needs tensor pos_embed of 3 axes/],
    ["there are no blocks", { "blocks.0.mlp.fc1.weight": undefined }, /needs tensor blocks\.0\.mlp\.fc1\.weight/],
    ["positions do not form a square", { pos_embed: [1, 16, 128] }, /'image_size'/],
  ];
  for (const [what, change, message] of cases) {
    it(`are rejected if ${what}`, () => {
      const all = { ...shapes, ...change };
      assert.throws(() => vitConfigFromTensors((name) => all[name], { heads: 2 }), { name: "EpalmError", message });
    });
  }

  it("are accepted with settings for what they do not determine", () => {
    const config = vitConfigFromTensors((name) => shapes[name], { heads: 4, epsilon: 1e-5, imageSize: 16 });
    assert.equal(config.num_attention_heads, 4);
    assert.equal(config.layer_norm_eps, 1e-5);
    assert.equal(config.qkv_bias, false);
  });
});

describe("attention heads of weights without a config", () => {
  const of = {
    "a ViT": { derive: vitConfigFromTensors, tokens: 17, channels: 3 },
    AST: { derive: astConfigFromTensors, tokens: 1214, channels: 1 },
    TimeSformer: { derive: timesformerConfigFromTensors, tokens: 17, channels: 3 },
  };
  const shapes = (width: number, depth: number, tokens: number, channels: number) => {
    const all: Record<string, readonly number[]> = {
      "patch_embed.proj.weight": [width, channels, 16, 16],
      pos_embed: [1, tokens, width],
      time_embed: [1, 8, width],
      "blocks.0.mlp.fc1.weight": [4 * width, width],
    };
    for (let index = 0; index < depth; index++) all[`blocks.${index}.norm1.weight`] = [width];
    return (name: string) => all[name];
  };
  const published: readonly (readonly [width: number, heads: number])[] = [
    ...([
      [192, 3],
      [384, 6],
      [768, 12],
      [1024, 16],
    ] as const),
    ...([
      [1152, 16],
      [1280, 16],
      [1408, 16],
      [1664, 16],
    ] as const),
  ];
  for (const [what, { derive, tokens, channels }] of Object.entries(of)) {
    for (const [width, heads] of published) {
      it(`are those that were published: ${what} of width ${width}`, () => {
        assert.equal(derive(shapes(width, 1, tokens, channels)).num_attention_heads, heads);
        assert.equal(derive(shapes(width, 1, tokens, channels), { heads: 2 }).num_attention_heads, 2);
      });
    }
    for (const [width, depth] of [
      [64, 12],
      [128, 1],
      [512, 12],
      [640, 12],
      [1536, 40],
      [768, 8],
    ] as const) {
      it(`must be given: ${what} of width ${width} and depth ${depth}`, () => {
        const message = new RegExp(`^heads: expected .* of tiny\\.pth, .*width ${width}, depth ${depth}`);
        const derived = () => derive(shapes(width, depth, tokens, channels), { path: "tiny.pth" });
        assert.throws(derived, { name: "EpalmError", code: "invalid_option", message });
      });
    }
  }
});
