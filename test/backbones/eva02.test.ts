import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Checkpoint } from "../../src/formats/checkpoint.js";
import { encoded, patchesOf, sourceOf } from "../support/read-tiny-encoder.js";
import { assertClose, changed, golden, openWeights, readConfig, renamed, zeros } from "../support/tiny-backbones.js";

const NAMES = ["eva02-timm", "eva02-tiny-timm", "eva02-clip-timm"] as const;

const states = (name: string, weights: Checkpoint = openWeights(name)) =>
  encoded(sourceOf(weights, readConfig(name)), golden(name, "pixels"));

/** The names in the files of baaivision/EVA, in which each block also contains its angles. */
function published(weights: Checkpoint): Checkpoint {
  const pairs: readonly (readonly [RegExp, string])[] = [
    [/\.attn\.q_proj\.bias$/, ".attn.q_bias"],
    [/\.attn\.v_proj\.bias$/, ".attn.v_bias"],
    [/\.attn\.norm\./, ".attn.inner_attn_ln."],
    [/\.mlp\.norm\./, ".mlp.ffn_ln."],
    [/\.mlp\.fc1_g\./, ".mlp.w1."],
    [/\.mlp\.fc1_x\./, ".mlp.w2."],
    [/\.mlp\.fc1\./, ".mlp.w12."],
    [/\.mlp\.fc2\./, ".mlp.w3."],
  ];
  const named = renamed(weights, (name) => pairs.reduce((text, [from, to]) => text.replace(from, to), name));
  const angles = { "rope.freqs_cos": zeros(16, 8), "blocks.0.attn.rope.freqs_sin": zeros(16, 8) };
  return changed(named, { ...angles, mask_token: zeros(1, 1, 24) });
}

describe("EVA-02", () => {
  for (const name of NAMES) {
    it(`gives timm's states after every block: ${name}`, async () => {
      assertClose(await states(name), golden(name, "states"));
    });

    it(`gives all patches: ${name}`, async () => {
      const source = sourceOf(openWeights(name), readConfig(name));
      assertClose(await patchesOf(source, golden(name, "pixels")), golden(name, "patches"));
    });

    it(`gives the states from the published names: ${name}`, async () => {
      assertClose(await states(name, published(openWeights(name))), golden(name, "states"));
    });
  }

  it("gives the means of the patches of a CLIP on request", async () => {
    const name = "eva02-clip-timm";
    const source = sourceOf(openWeights(name), readConfig(name));
    assertClose(await encoded(source, golden(name, "pixels"), { pooling: "mean" }), golden(name, "means"));
  });

  it("gives them from a tower of open_clip, beside the text encoder", async () => {
    const name = "eva02-clip-timm";
    const trunk = renamed(openWeights(name), (tensor) => `visual.trunk.${tensor}`);
    const weights = changed(trunk, { "text.transformer.resblocks.0.attn.in_proj_bias": zeros(3) });
    const vision_cfg = { timm_model_name: "eva02_base_patch16_clip_224", image_size: 28 };
    const source = sourceOf(weights, undefined, { model_cfg: { vision_cfg } });
    assertClose(await encoded(source, golden(name, "pixels"), { heads: 3 }), golden(name, "states"));
  });

  it("has no states of the class token that a classifier does not train", async () => {
    const name = "eva02-timm";
    const source = sourceOf(openWeights(name), readConfig(name));
    await assert.rejects(encoded(source, golden(name, "pixels"), { pooling: "cls" }), {
      code: "invalid_option",
      message: "pooling: expected mean for folder, got cls",
    });
  });

  it("rejects a plain feed-forward, whose blocks may differ as well", async () => {
    const name = "eva02-tiny-timm";
    const [size = 0] = openWeights(name).tensors.get("blocks.0.mlp.fc2.weight")?.shape.slice(1) ?? [];
    const weights = changed(openWeights(name), { "blocks.0.mlp.fc1.weight": zeros(size, 32) });
    await assert.rejects(states(name, weights), {
      code: "unsupported_architecture",
      message: /^folder: expected the gated feed-forward of EVA-02 .*, got a plain one/,
    });
  });

  it("rejects tensors that are missing or unknown", async () => {
    const name = "eva02-timm";
    const missing = changed(openWeights(name), { "blocks.1.attn.v_proj.bias": undefined });
    await assert.rejects(states(name, missing), /tensor blocks\.1\.attn\.v\.bias is missing/);
    const unknown = changed(openWeights(name), { "blocks.1.attn.relative_position_bias_table": zeros(3) });
    await assert.rejects(states(name, unknown), /unexpected tensor blocks\.1\.attn\.relative_position_bias_table/);
  });

  it("rejects heads whose quarter is no integer", async () => {
    const { model_args: _, ...config } = readConfig("eva02-timm");
    const source = sourceOf(openWeights("eva02-timm"), config);
    await assert.rejects(encoded(source, golden("eva02-timm", "pixels"), { heads: 4 }), {
      code: "unsupported_architecture",
      message: /^EVA-02: heads: expected a size of each head that is a multiple of 4, got 6/,
    });
  });
});
