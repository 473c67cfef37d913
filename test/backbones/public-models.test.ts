import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { vitConfigFromTensors } from "../../src/backbones/encoders/vit.js";
import type { Checkpoint } from "../../src/formats/checkpoint.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import {
  assertClose,
  buildDecoder,
  buildEncoder,
  type Config,
  changed,
  golden,
  logitsOf,
  openWeights,
  readConfig,
  renamed,
  statesOf,
  variedDecoders,
  zeros,
} from "../support/tiny-backbones.js";

const decoders = [
  "gpt2",
  "gpt2-old-names",
  "qwen2-tied",
  "qwen2-untied",
  "llama-untied-biases",
  "llama3-scaling",
  "llama-linear-scaling",
  "opt-half",
  "opt-bfloat16-old-names",
  "opt-gelu",
  "opt-post-norm",
  ...variedDecoders,
];

describe("decoders", () => {
  for (const name of decoders) {
    it(`give transformers' logits: ${name}`, async () => {
      const built = buildDecoder(openWeights(name), readConfig(name));
      assertClose(await logitsOf(built, golden(name, "input_ids")), golden(name, "logits"));
    });
  }
});

/** The config in the format of transformers 4: the base beside the scaling, whose key `rope_type` was once `type`. */
function olderRope({ rope_parameters, ...config }: Config): Config {
  const { rope_theta, rope_type, ...scaling } = rope_parameters as Config;
  return { ...config, rope_theta, rope_scaling: { type: rope_type, ...scaling } };
}

/** As Pythia's files: the share and the base have keys of their own. */
function olderNeox({ rope_parameters, ...config }: Config): Config {
  const { rope_theta, partial_rotary_factor, rope_type, ...scaling } = rope_parameters as Config;
  const rope_scaling = rope_type === "default" ? null : { type: rope_type, ...scaling };
  return { ...config, rotary_emb_base: rope_theta, rotary_pct: partial_rotary_factor, rope_scaling };
}

/** As the published files of Phi-3 and Phi-4-mini, of which early ones call LongRoPE "su". */
function olderPhi({ rope_parameters, ...config }: Config): Config {
  const { rope_theta, partial_rotary_factor, rope_type, short_factor, long_factor } = rope_parameters as Config;
  const rope_scaling = rope_type === "default" ? null : { type: "su", short_factor, long_factor };
  return { ...config, rope_theta, partial_rotary_factor, rope_scaling };
}

interface Form {
  readonly config?: (config: Config) => Config;
  readonly weights?: (weights: Checkpoint) => Checkpoint;
}

const decoderForms: readonly (readonly [what: string, name: string, Form])[] = [
  ["rotary settings of transformers 4, linear", "llama-linear-scaling", { config: olderRope }],
  ["rotary settings of transformers 4, llama3", "llama3-scaling", { config: olderRope }],
  ["rotary settings of transformers 4, no scaling", "qwen2-tied", { config: olderRope }],
  [
    "rotary frequencies stored as tensors",
    "qwen2-untied",
    { weights: (w) => changed(w, { "model.layers.0.self_attn.rotary_emb.inv_freq": zeros(4) }) },
  ],
  [
    "a tied head stored a second time, Llama",
    "llama3-scaling",
    { weights: (w) => changed(w, { "lm_head.weight": w.tensors.get("model.embed_tokens.weight") }) },
  ],
  [
    "a tied head stored a second time, OPT",
    "opt-gelu",
    { weights: (w) => changed(w, { "lm_head.weight": w.tensors.get("model.decoder.embed_tokens.weight") }) },
  ],
  ["defaults omitted, GPT-2", "gpt2", { config: ({ n_inner, tie_word_embeddings, ...config }) => config }],
  ["explicit width of the feed-forward, GPT-2", "gpt2", { config: (c) => ({ ...c, n_inner: 128 }) }],
  ["masks stored as tensors, GPT-2", "gpt2", { weights: withMasks }],
  ["rotary settings of transformers 4, GPT-NeoX", "gpt-neox", { config: olderNeox }],
  ["rotary settings of transformers 4, scaled, GPT-NeoX", "gpt-neox-sequential", { config: olderNeox }],
  [
    "masks and rotary frequencies stored as tensors, GPT-NeoX",
    "gpt-neox",
    {
      weights: (w) =>
        changed(w, {
          "gpt_neox.layers.1.attention.bias": zeros(1, 1, 64, 64),
          "gpt_neox.layers.1.attention.masked_bias": zeros(),
          "gpt_neox.layers.1.attention.rotary_emb.inv_freq": zeros(3),
        }),
    },
  ],
  ["rotary settings of transformers 4, Phi-3", "phi3-window", { config: olderPhi }],
  ["rotary settings of transformers 4, dynamic", "llama-dynamic", { config: olderRope }],
  ["rotary settings of transformers 4, yarn", "mistral-yarn", { config: olderRope }],
  ["rotary settings of transformers 4, scaled, Phi-4-mini", "phi4-longrope", { config: olderPhi }],
  [
    "published names of sizes and tensors, BLOOM",
    "bloom",
    {
      config: ({ hidden_size, n_head, layer_norm_epsilon, tie_word_embeddings, ...config }) => ({
        ...config,
        n_embed: hidden_size,
        num_attention_heads: n_head,
      }),
      weights: (w) => renamed(w, (name) => name.replace(/^transformer\./, "")),
    },
  ],
  ["defaults omitted, GPT-J", "gptj", { config: ({ n_inner, layer_norm_epsilon, ...config }) => config }],
  [
    "masks stored as tensors, GPT-J",
    "gptj",
    {
      weights: (w) =>
        changed(w, { "transformer.h.0.attn.bias": zeros(1, 1, 64, 64), "transformer.h.0.attn.masked_bias": zeros() }),
    },
  ],
];

function withMasks(weights: Checkpoint): Checkpoint {
  return changed(weights, {
    "transformer.h.0.attn.bias": zeros(1, 1, 32, 32),
    "transformer.h.0.attn.masked_bias": zeros(),
  });
}

describe("rotary positions that depend on the length of the text", () => {
  for (const name of ["phi4-longrope", "qwen2-longrope"]) {
    it(`limit texts to the original length, for which the short factors are made: ${name}`, () => {
      assert.equal(buildDecoder(openWeights(name), readConfig(name)).shape.positions, 32);
    });
  }

  it("limit texts to the length up to which dynamic scaling changes nothing", () => {
    const config = readConfig("llama-dynamic");
    const scaled = buildDecoder(openWeights("llama-dynamic"), config);
    const plain = buildDecoder(openWeights("llama-dynamic"), {
      ...config,
      rope_parameters: { rope_type: "default", rope_theta: 100 },
    });
    assert.equal(scaled.shape.positions, 32);
    assert.deepEqual(encodeOnnx(scaled.graph), encodeOnnx(plain.graph));
  });

  it("limit texts of Gemma 3 if one type of layer has them", () => {
    const full_attention = {
      rope_type: "longrope",
      short_factor: [1, 1, 1, 1, 1, 1],
      original_max_position_embeddings: 9,
    };
    const config = { ...readConfig("gemma3-text"), rope_parameters: { full_attention } };
    assert.equal(buildDecoder(openWeights("gemma3-text"), config).shape.positions, 9);
  });
});

describe("decoders in other public forms", () => {
  for (const [what, name, { config = (c: Config) => c, weights = (w: Checkpoint) => w }] of decoderForms) {
    it(`give the same logits: ${what}`, async () => {
      const built = buildDecoder(weights(openWeights(name)), config(readConfig(name)));
      assertClose(await logitsOf(built, golden(name, "input_ids")), golden(name, "logits"));
    });
  }
});

describe("encoders", () => {
  for (const name of ["vit", "deit", "vit-mae", "vit-msn"]) {
    it(`give transformers' [CLS] states after every block: ${name}`, async () => {
      const graph = buildEncoder(openWeights(name), readConfig(name));
      assertClose(await statesOf(graph, golden(name, "pixels")), golden(name, "states"));
    });
  }

  it("give those of audio, from patches whose strides in frequency and time differ", async () => {
    const graph = buildEncoder(openWeights("ast"), readConfig("ast"));
    assertClose(await statesOf(graph, golden("ast", "features")), golden("ast", "states"));
  });

  it("give those of videos, with divided space-time attention", async () => {
    const graph = buildEncoder(openWeights("timesformer"), readConfig("timesformer"));
    assertClose(await statesOf(graph, golden("timesformer", "pixels")), golden("timesformer", "states"));
  });

  for (const name of ["videomae", "videomae-classifier", "vjepa2", "vjepa2-classifier"]) {
    it(`give the means of a video's tubelets after every block: ${name}`, async () => {
      const graph = buildEncoder(openWeights(name), readConfig(name));
      assertClose(await statesOf(graph, golden(name, "pixels")), golden(name, "states"));
    });
  }

  it("give them from VideoMAE's names in the memory of transformers 5", async () => {
    const weights = renamed(openWeights("videomae"), (name) =>
      name.replace("attention.q_bias", "attention.query.bias").replace("attention.v_bias", "attention.value.bias"),
    );
    assert.ok(weights.tensors.has("videomae.encoder.layer.0.attention.attention.query.bias"));
    const graph = buildEncoder(weights, readConfig("videomae"));
    assertClose(await statesOf(graph, golden("videomae", "pixels")), golden("videomae", "states"));
  });

  it("give those of videos from weights with the published names", async () => {
    const published: readonly (readonly [RegExp, string])[] = [
      [/^timesformer\.(?=encoder)/, ""],
      [/^timesformer\.embeddings\.|^timesformer\./, ""],
      [/^encoder\.layer\./, "blocks."],
      [/^position_embeddings/, "pos_embed"],
      [/^time_embeddings/, "time_embed"],
      [/^patch_embeddings\.projection/, "patch_embed.proj"],
      [/^layernorm/, "norm"],
      [/^classifier/, "head"],
      [/temporal_layernorm/, "temporal_norm1"],
      [/temporal_dense/, "temporal_fc"],
      [/attention\.attention\.qkv/, "attn.qkv"],
      [/(?<=\d\.)attention\.output\.dense/, "attn.proj"],
      [/temporal_attention\.output\.dense/, "temporal_attn.proj"],
      [/layernorm_before/, "norm1"],
      [/layernorm_after/, "norm2"],
      [/intermediate\.dense/, "mlp.fc1"],
      [/(?<=\d\.)output\.dense/, "mlp.fc2"],
    ];
    const weights = renamed(
      openWeights("timesformer"),
      (name) => `model.${published.reduce((text, [from, to]) => text.replace(from, to), name)}`,
    );
    assert.ok(weights.tensors.has("model.blocks.1.temporal_attn.qkv.weight"));
    assert.ok(weights.tensors.has("model.blocks.1.attn.proj.weight"));
    const graph = buildEncoder(weights, readConfig("timesformer"));
    assertClose(await statesOf(graph, golden("timesformer", "pixels")), golden("timesformer", "states"));
  });

  it("give them from a timm file without a config, in half precision", async () => {
    const graph = buildEncoder(openWeights("vit-timm"), (weights) =>
      vitConfigFromTensors((name) => weights.shapeOf(name), { heads: 2 }),
    );
    assertClose(await statesOf(graph, golden("vit-timm", "pixels")), golden("vit-timm", "states"));
  });

  it("give them from weights with the internal names of transformers 5", async () => {
    const inner: readonly (readonly [RegExp, string])[] = [
      [/\.encoder\.layer\./, ".layers."],
      [/attention\.attention\.(.)[a-z]+/, "attention.$1_proj"],
      [/attention\.output\.dense/, "attention.o_proj"],
      [/intermediate\.dense/, "mlp.fc1"],
      [/(?<=\d)\.output\.dense/, ".mlp.fc2"],
    ];
    const weights = renamed(openWeights("vit"), (name) =>
      inner.reduce((text, [from, to]) => text.replace(from, to), name),
    );
    assert.ok(weights.tensors.has("vit.layers.0.attention.q_proj.weight"));
    const graph = buildEncoder(weights, readConfig("vit"));
    assertClose(await statesOf(graph, golden("vit", "pixels")), golden("vit", "states"));
  });

  it("ignore tensors that only pre-training needs", () => {
    const weights = changed(openWeights("vit"), {
      "vit.embeddings.mask_token": zeros(1, 1, 32),
      "vit.pooler.dense.weight": zeros(32, 32),
    });
    assert.ok(buildEncoder(weights, readConfig("vit")));
  });
});
