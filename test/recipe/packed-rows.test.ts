import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { languageModelGraph } from "../../models/recipe/language-model-graph.js";
import { packedFeeds, packRows, type TokenDocument } from "../../models/recipe/packed-rows.js";
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

const plain = (...ids: number[]): TokenDocument => ({ given: [], texts: [{ ids, known: 0 }] });

describe("rows of documents", () => {
  it("are filled in order; a text that no row can hold is cut", () => {
    assert.deepEqual(packRows([plain(4, 5), plain(6), plain(7, 8, 9), plain(1, 2, 3, 4, 5, 6, 7, 8, 9)], 8), [
      [plain(4, 5), plain(6)],
      [plain(7, 8, 9)],
      [plain(1, 2, 3, 4, 5, 6, 7)],
    ]);
  });

  it("cut what is given to half of a row, and leave out texts that do not fit", () => {
    const text = (...ids: number[]) => ({ ids, known: 1 });
    const document = { given: [1, 2, 3, 4, 5], texts: [text(6), text(7, 8, 9), text(10)] };
    assert.deepEqual(packRows([document], 8), [[{ given: [1, 2, 3, 4], texts: [text(6), text(10)] }]]);
  });

  it("give each text the losses that it has alone behind what is given; what is known has no weight", async () => {
    const [random = Math.random] = randomStreams(3, 1);
    const initial = new InitialWeights((_, shape) => normal(random, shape, 0.3));
    const session = await openSession(encodeOnnx(languageModelGraph(config, initial)), { threads: 1 });
    const weights = Object.fromEntries(initial.tensors);
    const losses = async (documents: readonly TokenDocument[], length: number) => {
      const feeds = packedFeeds([documents], length);
      const { token_loss } = await session.run({ ...weights, ...feeds }, ["token_loss"]);
      const scored = feeds.target_weights?.data as Float32Array;
      return Array.from(token_loss?.data as Float32Array).filter((_, place) => (scored[place] ?? 0) > 0);
    };
    const one = { given: [11, 12], texts: [{ ids: [5, 6, 7], known: 2 }] };
    const two = { given: [11, 12], texts: [{ ids: [9, 10], known: 0 }] };
    const both = { given: [11, 12], texts: [...one.texts, ...two.texts] };
    const alone = [
      ...(await losses([plain(8)], 2)),
      ...(await losses([one], 6)),
      ...(await losses([two], 5)),
    ];
    assert.equal(alone.length, 2 + 2 + 3);
    const packed = await losses([plain(8), both], 13);
    alone.forEach((loss, place) => {
      assert.ok(Math.abs(loss - (packed[place] ?? 0)) < 1e-5, `${loss}, ${packed[place]}`);
    });
    const ungiven = await losses([{ ...two, given: [] }], 3);
    assert.ok(Math.abs((ungiven[0] ?? 0) - (alone[4] ?? 0)) > 1e-3, "what is given is not seen");
    await session.close();
  });
});
