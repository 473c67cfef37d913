import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encoderArchitecture } from "../../src/backbones/registry.js";
import type { Checkpoint } from "../../src/formats/checkpoint.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { readEncoder } from "../../src/model/read-encoder.js";
import { concatenatedRows, reshaped } from "../../src/tensor/source-recipes.js";
import type { TensorSource } from "../../src/tensor/tensor.js";
import { encoded, patchesOf, sourceOf } from "../support/read-tiny-encoder.js";
import { assertClose, changed, golden, openWeights, readConfig, renamed, zeros } from "../support/tiny-backbones.js";

/** Replaces parts of names, one after the other. */
const replacing = (pairs: readonly (readonly [RegExp, string])[]) => (name: string) =>
  pairs.reduce((text, [from, to]) => text.replace(from, to), name);

/** Joins the three projections of each attention, as timm and open_clip store them. */
function joinedProjections(weights: Checkpoint, joined: string): Checkpoint {
  const tensors = new Map(weights.tensors);
  for (const name of weights.tensors.keys()) {
    const [, before, kind] = /^(.*self_attn)\.q_proj\.(weight|bias)$/.exec(name) ?? [];
    if (before === undefined) continue;
    const names = ["q", "k", "v"].map((part) => `${before}.${part}_proj.${kind}`);
    tensors.set(`${before}.${joined}${kind}`, concatenatedRows(names.flatMap((part) => tensors.get(part) ?? [])));
    for (const part of names) tensors.delete(part);
  }
  return { ...weights, tensors };
}

/** A tensor with other axes. */
function withShape(weights: Checkpoint, name: string, shape: (from: TensorSource) => readonly number[]): Checkpoint {
  const source = weights.tensors.get(name);
  assert.ok(source, name);
  return changed(weights, { [name]: reshaped(source, shape(source)) });
}

const toOpenClip = replacing([
  [/^text_model\.embeddings\.position_embedding\.weight$/, "positional_embedding"],
  [/^text_model\.embeddings\.token_embedding/, "token_embedding"],
  [/^text_model\.encoder\.layers/, "transformer.resblocks"],
  [/^text_model\.final_layer_norm/, "ln_final"],
  [/^vision_model\.embeddings\.class_embedding$/, "visual.class_embedding"],
  [/^vision_model\.embeddings\.position_embedding\.weight$/, "visual.positional_embedding"],
  [/^vision_model\.embeddings\.patch_embedding/, "visual.conv1"],
  [/^vision_model\.pre_layrnorm/, "visual.ln_pre"],
  [/^vision_model\.post_layernorm/, "visual.ln_post"],
  [/^vision_model\.encoder\.layers/, "visual.transformer.resblocks"],
  [/^visual_projection\.weight$/, "visual.proj"],
  [/^text_projection\.weight$/, "text_projection"],
  [/\.self_attn\./, ".attn."],
  [/\.layer_norm(\d)\./, ".ln_$1."],
  [/\.mlp\.fc1/, ".mlp.c_fc"],
  [/\.mlp\.fc2/, ".mlp.c_proj"],
]);

const toTimm = replacing([
  [/^vision_model\./, ""],
  [/^embeddings\.class_embedding$/, "cls_token"],
  [/^embeddings\.position_embedding\.weight$/, "pos_embed"],
  [/^embeddings\.patch_embedding/, "patch_embed.proj"],
  [/^pre_layrnorm/, "norm_pre"],
  [/^post_layernorm/, "norm"],
  [/^encoder\.layers/, "blocks"],
  [/\.self_attn\.out_proj/, ".attn.proj"],
  [/\.self_attn\./, ".attn."],
  [/\.layer_norm(\d)\./, ".norm$1."],
  [/^head\.probe$/, "attn_pool.latent"],
  [/^head\.layernorm/, "attn_pool.norm"],
  [/^head\.attention\.out_proj/, "attn_pool.proj"],
  [/^head\.mlp/, "attn_pool.mlp"],
]);

/** Only the image encoder, as timm publishes it. */
function timmWeights(name: string): Checkpoint {
  const weights = joinedProjections(openWeights(name), "qkv.");
  const tensors = new Map([...weights.tensors].filter(([tensor]) => !/^(text_|logit_|visual_)/.test(tensor)));
  const plain = renamed({ ...weights, tensors }, toTimm);
  const batched = withShape(plain, "pos_embed", ({ shape }) => [1, ...shape]);
  return batched.tensors.has("cls_token") ? withShape(batched, "cls_token", ({ shape }) => [1, 1, ...shape]) : batched;
}

describe("CLIP", () => {
  for (const name of ["clip", "clip-vision"]) {
    const source = () => sourceOf(openWeights(name), readConfig(name));
    const pixels = golden(name, "pixels");

    it(`gives transformers' class tokens after every block and post_layernorm: ${name}`, async () => {
      assertClose(await encoded(source(), pixels), golden(name, "states"));
    });

    it(`gives the means of the patches on request: ${name}`, async () => {
      assertClose(await encoded(source(), pixels, { pooling: "mean" }), golden(name, "means"));
    });

    it(`gives all patches: ${name}`, async () => {
      assertClose(await patchesOf(source(), pixels), golden(name, "patches"));
    });
  }

  it("gives them from open_clip's names and config, beside the text encoder", async () => {
    const weights = renamed(joinedProjections(openWeights("clip"), "in_proj_"), toOpenClip);
    assert.ok(weights.tensors.has("visual.transformer.resblocks.2.attn.in_proj_weight"));
    assert.ok(weights.tensors.has("transformer.resblocks.0.mlp.c_fc.weight"));
    const openClip = {
      model_cfg: {
        quick_gelu: true,
        vision_cfg: { width: 40, head_width: 8, layers: 3, image_size: 40, patch_size: 6 },
      },
    };
    const pixels = golden("clip", "pixels");
    assertClose(await encoded(sourceOf(weights, undefined, openClip), pixels), golden("clip", "states"));
  });

  it("gives timm's own states from timm's files", async () => {
    const source = sourceOf(openWeights("clip-timm"), readConfig("clip-timm"));
    assertClose(await encoded(source, golden("clip-timm", "pixels")), golden("clip-timm", "states"));
  });

  it("gives them from timm's names and config", async () => {
    const config = {
      architecture: "vit_base_patch6_clip_quickgelu_40",
      model_args: { num_heads: 5 },
      pretrained_cfg: { input_size: [3, 40, 40] },
    };
    const pixels = golden("clip", "pixels");
    assertClose(await encoded(sourceOf(timmWeights("clip"), config), pixels), golden("clip", "states"));
  });

  it("gives them from weights without a config, with torch's epsilon", async () => {
    const clip = openWeights("clip");
    const [pixels, states] = [golden("clip", "pixels"), golden("clip", "states")];
    const config = readConfig("clip");
    // 40 pixels, of which the patches cover 36: without a config, the size is that of the patches.
    const cut = { ...pixels, shape: [2, 3, 36, 36], data: croppedPixels(pixels.data as Float32Array, 40, 36) };
    assert.equal(config.model_type, "clip");
    assertClose(await encoded(sourceOf(clip), cut, { heads: 5 }), states);
  });

  it("uses the defaults of CLIPVisionConfig for missing keys", () => {
    const g = new GraphBuilder("encoder");
    const config = { model_type: "clip", vision_config: {} };
    const { backbone } = readEncoder(g, sourceOf(openWeights("clip"), config), {});
    // ViT-B/32 at 224 pixels.
    assert.deepEqual([backbone.inputShape, backbone.depth, backbone.width], [[3, 224, 224], 12, 768]);
  });
});

function croppedPixels(pixels: Float32Array, side: number, kept: number): Float32Array {
  return pixels.filter((_, at) => at % side < kept && Math.floor(at / side) % side < kept);
}

describe("SigLIP", () => {
  for (const name of ["siglip", "siglip-vision"]) {
    const source = () => sourceOf(openWeights(name), readConfig(name));
    const pixels = golden(name, "pixels");

    it(`gives the means of transformers' patches after every block and post_layernorm: ${name}`, async () => {
      assertClose(await encoded(source(), pixels), golden(name, "states"));
    });

    it(`gives the output of its own attention pooling as a single state: ${name}`, async () => {
      const state = await encoded(source(), pixels, { pooling: "attention" });
      assert.deepEqual(state.shape, [2, 1, name === "siglip" ? 36 : 32]);
      assertClose(state, golden(name, "pooled"));
    });

    it(`gives all patches: ${name}`, async () => {
      assertClose(await patchesOf(source(), pixels), golden(name, "patches"));
    });
  }

  it("gives timm's own states from timm's files", async () => {
    const source = sourceOf(openWeights("siglip-timm"), readConfig("siglip-timm"));
    const pixels = golden("siglip-timm", "pixels");
    assertClose(await encoded(source, pixels), golden("siglip-timm", "states"));
    const { data } = golden("siglip-timm", "pooled");
    assertClose(await encoded(source, pixels, { pooling: "attention" }), { type: "float32", shape: [2, 1, 20], data });
  });

  for (const [pooling, expected] of [
    ["mean", "states"],
    ["attention", "pooled"],
  ] as const) {
    it(`gives them from timm's names, inside a tower of open_clip: ${pooling}`, async () => {
      const timm = withTimmPooling(timmWeights("siglip"), 36);
      const weights = renamed(timm, (name) => `visual.trunk.${name}`);
      assert.ok(weights.tensors.has("visual.trunk.attn_pool.kv.weight"));
      const config = { architecture: "vit_base_patch8_siglip_26", pretrained_cfg: { input_size: [3, 26, 26] } };
      const states = await encoded(sourceOf(weights, config), golden("siglip", "pixels"), { heads: 3, pooling });
      assertClose(states, golden("siglip", expected));
    });
  }

  it("rejects pooling by a class token, and by attention if the checkpoint has none", () => {
    const build = (weights: Checkpoint, pooling: "cls" | "attention") =>
      readEncoder(new GraphBuilder("encoder"), sourceOf(weights, readConfig("siglip")), { pooling });
    const weights = openWeights("siglip");
    assert.throws(() => build(weights, "cls"), { message: "pooling: expected mean or attention for folder, got cls" });
    const headless = {
      ...weights,
      tensors: new Map([...weights.tensors].filter(([name]) => !/model\.head/.test(name))),
    };
    assert.throws(() => build(headless, "attention"), { code: "invalid_option", message: /^pooling: expected mean/ });
  });

  it("rejects a NaFlex model by name, but not a SigLIP 2 of fixed resolution", async () => {
    const { vision_config } = readConfig("siglip");
    const config = { model_type: "siglip2", vision_config };
    const states = await encoded(sourceOf(openWeights("siglip"), config), golden("siglip", "pixels"));
    assertClose(states, golden("siglip", "states"));
    const naflex = { model_type: "siglip2", vision_config: { hidden_size: 36, num_patches: 256 } };
    const build = () => readEncoder(new GraphBuilder("encoder"), sourceOf(openWeights("siglip"), naflex), {});
    assert.throws(build, { code: "unsupported_architecture", message: /NaFlex/ });
  });
});

/** timm stores the query's projection apart from that of keys and values. */
function withTimmPooling(weights: Checkpoint, width: number): Checkpoint {
  const tensors = new Map(weights.tensors);
  for (const kind of ["weight", "bias"]) {
    const joined = tensors.get(`head.attention.in_proj_${kind}`);
    assert.ok(joined);
    tensors.delete(`head.attention.in_proj_${kind}`);
    const data = joined.read() as Float32Array;
    const at = data.length / 3;
    const inner = kind === "weight" ? [width] : [];
    tensors.set(`attn_pool.q.${kind}`, { type: "float32", shape: [width, ...inner], read: () => data.slice(0, at) });
    tensors.set(`attn_pool.kv.${kind}`, { type: "float32", shape: [2 * width, ...inner], read: () => data.slice(at) });
  }
  return { ...weights, tensors };
}

const toOpenAiWhisper = replacing([
  [/^encoder\.embed_positions\.weight$/, "encoder.positional_embedding"],
  [/^encoder\.layer_norm/, "encoder.ln_post"],
  [/\.layers\./, ".blocks."],
  [/\.self_attn_layer_norm/, ".attn_ln"],
  [/(?<=encoder.*)\.final_layer_norm/, ".mlp_ln"],
  [/\.self_attn\.q_proj/, ".attn.query"],
  [/\.self_attn\.k_proj/, ".attn.key"],
  [/\.self_attn\.v_proj/, ".attn.value"],
  [/\.self_attn\.out_proj/, ".attn.out"],
  [/\.fc1\./, ".mlp.0."],
  [/\.fc2\./, ".mlp.2."],
]);

describe("Whisper's encoder", () => {
  const features = golden("whisper", "features");

  it("gives the means of transformers' frames after every block and the final norm", async () => {
    const states = await encoded(sourceOf(openWeights("whisper"), readConfig("whisper")), features);
    assertClose(states, golden("whisper", "states"));
  });

  it("gives all frames", async () => {
    const patches = await patchesOf(sourceOf(openWeights("whisper"), readConfig("whisper")), features);
    assertClose(patches, golden("whisper", "patches"));
  });

  it("gives them from a model for transcription, whose names have a prefix", async () => {
    const weights = changed(
      renamed(openWeights("whisper"), (name) => `model.${name}`),
      { "proj_out.weight": zeros(32, 24) },
    );
    assertClose(await encoded(sourceOf(weights, readConfig("whisper")), features), golden("whisper", "states"));
  });

  it("gives them from the names of openai/whisper without a config", async () => {
    const weights = renamed(openWeights("whisper"), toOpenAiWhisper);
    assert.ok(weights.tensors.has("encoder.blocks.2.attn.query.weight"));
    assertClose(await encoded(sourceOf(weights), features, { heads: 3 }), golden("whisper", "states"));
  });
});

describe("CLAP", () => {
  for (const modelType of ["clap", "clap_audio_model"]) {
    it(`is rejected because its audio encoder is a Swin transformer: ${modelType}`, () => {
      const expected = { code: "unsupported_architecture", message: /HTSAT, is a Swin transformer/ };
      assert.throws(() => encoderArchitecture(modelType, "folder"), expected);
    });
  }
});
