import assert from "node:assert/strict";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { decoderGraph } from "../../src/adapter/decoder-graph.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { buildModel } from "../../src/model/build-model.js";
import { frozenDecoder } from "../../src/model/frozen-decoder.js";
import { assertClose, golden, logitsOf } from "../support/tiny-backbones.js";
import { temporaryFolder } from "../support/tiny-model.js";

const fixtures = "test/fixtures/backbones";

/** A byte-level tokenizer that fits the 64 tokens of the fixtures. */
const tokenizer = {
  added_tokens: [],
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: null,
  decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  model: {
    type: "BPE",
    vocab: Object.fromEntries([..."?Ġabcdefghijklmnopqrstuvwxyz"].map((c, i) => [c, i + 3])),
    merges: [],
  },
};

/** Minimum cosine similarity of the logits with transformers'. */
const least = { fp16: 0.99999, int8: 0.99 };

async function built(name: string, precision: "fp32" | "fp16" | "int8") {
  const root = temporaryFolder();
  const decoder = join(root, "decoder");
  mkdirSync(decoder);
  for (const file of ["config.json", "model.safetensors"]) cpSync(join(fixtures, name, file), join(decoder, file));
  writeFileSync(join(decoder, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(join(decoder, "generation_config.json"), JSON.stringify({ eos_token_id: [1, 4] }));
  const output = join(root, "model");
  const encoder = "test/fixtures/goldens/opt-6states-mlp10/encoder";
  const manifest = await buildModel({
    output,
    encoder: { path: encoder, given: encoder, precision: "fp32", preprocessing: "source" },
    decoder: { path: decoder, given: decoder, precision },
    adapters: [],
  });
  return { path: output, manifest };
}

describe("the decoder of a model folder, as it is trained with", () => {
  for (const name of [
    "qwen3-yarn-window",
    "mistral-window",
    "smollm3",
    "gemma2",
    "gemma3-text",
    "gemma3-composite",
    "gpt-neox",
    "gptj",
    "bloom",
    "bloom-five-heads",
    "phi4-longrope",
  ]) {
    it(`has transformers' logits in fp32, and can be read in fp16 and int8: ${name}`, async () => {
      for (const precision of ["fp32", "fp16", "int8"] as const) {
        const folder = await built(name, precision);
        assert.deepEqual(folder.manifest.decoder.endTokens, [1, 4]);
        assert.equal(folder.manifest.decoder.startToken, 2);
        const g = new GraphBuilder("decoder");
        const backbone = frozenDecoder(folder, g);
        const graph = decoderGraph(g, backbone);
        const logits = await logitsOf({ graph, shape: backbone.shape }, golden(name, "input_ids"));
        const expected = golden(name, "logits");
        if (precision === "fp32") assertClose(logits, expected);
        else assert.ok(cosine(logits.data as Float32Array, expected.data as Float32Array) > least[precision]);
      }
    });
  }
});

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
