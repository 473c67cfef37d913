import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { languageModelGraph } from "../../models/recipe/language-model-graph.js";
import { packedFeeds, packRows } from "../../models/recipe/packed-rows.js";
import { randomStreams } from "../../src/generation/random.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession } from "../../src/runtime/session.js";
import { normal } from "../../src/training/distributions.js";
import { InitialWeights } from "../../src/training/initial-weights.js";

const config = {
  model_type: "opt",
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  ffn_dim: 32,
  vocab_size: 20,
  word_embed_proj_dim: 16,
  max_position_embeddings: 32,
  do_layer_norm_before: true,
  activation_function: "relu",
  tie_word_embeddings: true,
};

describe("rows of texts", () => {
  it("are filled in order; a text that no row can hold is cut", () => {
    assert.deepEqual(packRows([[4, 5], [6], [7, 8, 9], [1, 2, 3, 4, 5, 6, 7, 8, 9]], 8), [
      [[4, 5], [6]],
      [[7, 8, 9]],
      [[1, 2, 3, 4, 5, 6, 7]],
    ]);
  });

  it("give each text the losses that it has alone", async () => {
    const [random = Math.random] = randomStreams(3, 1);
    const initial = new InitialWeights((_, shape) => normal(random, shape, 0.3));
    const session = await openSession(encodeOnnx(languageModelGraph(config, initial)), { threads: 1 });
    const weights = Object.fromEntries(initial.tensors);
    const losses = async (texts: readonly (readonly number[])[], length: number) => {
      const feeds = packedFeeds([texts], length);
      const { token_loss } = await session.run({ ...weights, ...feeds }, ["token_loss"]);
      return Array.from(token_loss?.data as Float32Array);
    };
    const texts = [[5, 6, 7], [8], [9, 10]];
    const packed = await losses(texts, 12);
    let at = 0;
    for (const text of texts) {
      const alone = await losses([text], text.length + 1);
      alone.forEach((loss, place) => {
        assert.ok(Math.abs(loss - (packed[at + place] ?? 0)) < 1e-5, `${text} at ${place}`);
      });
      at += alone.length;
    }
    await session.close();
  });
});
