import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { END_TOKEN } from "../../../models/recipe/language-model/byte-pair-encoding.js";
import { languageModelGraph } from "../../../models/recipe/language-model/language-model-graph.js";
import { packedFeeds, packRows, type TokenDocument } from "../../../models/recipe/language-model/packed-rows.js";
import { adapterShapes } from "../../../src/adapter/adapter.js";
import { opt } from "../../../src/backbones/decoders/opt.js";
import { ParameterReader } from "../../../src/backbones/parameters.js";
import { weightsInMemory } from "../../../src/backbones/weights-in-memory.js";
import { randomStreams } from "../../../src/core/random.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { encodeOnnx } from "../../../src/graph/onnx-writer.js";
import { openSession, type Session } from "../../../src/runtime/session.js";
import { elementCount, type Tensor } from "../../../src/tensor/tensor.js";
import { trainingFeeds } from "../../../src/training/adapter/training-batch.js";
import { lossGraph, trainingLayout } from "../../../src/training/adapter/training-graph.js";
import { normal } from "../../../src/training/distributions.js";
import { InitialWeights } from "../../../src/training/initial-weights.js";

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

const plain = (...ids: number[]): TokenDocument => ({ conditioningLabels: [], texts: [{ ids, known: 0 }] });
const slots = { attributes: 3, startLayer: 1, endLayer: 2 };
const conditioningLabels = [
  { ids: [11, 12], attribute: 1, weight: 1 },
  { ids: [13], attribute: 2, weight: 0.5 },
];

describe("rows of documents", () => {
  it("are filled in order, and a text that is longer than a row is cut", () => {
    assert.deepEqual(packRows([plain(4, 5), plain(6), plain(7, 8, 9), plain(1, 2, 3, 4, 5, 6, 7, 8, 9)], 8), [
      [plain(4, 5), plain(6)],
      [plain(7, 8, 9)],
      [plain(1, 2, 3, 4, 5, 6, 7)],
    ]);
  });

  it("give all conditioning labels one place and leave out texts that do not fit", () => {
    const text = (...ids: number[]) => ({ ids, known: 1 });
    const document = { conditioningLabels, texts: [text(6, 5, 4), text(7, 8, 9), text(10)] };
    assert.deepEqual(packRows([document], 8), [[{ conditioningLabels, texts: [text(6, 5, 4), text(10)] }]]);
  });

  describe("in the language model", () => {
    let session: Session;
    let weights: Record<string, Tensor>;

    before(async () => {
      const [random = Math.random] = randomStreams(3, 1);
      const initial = new InitialWeights((_, shape) => normal(random, shape, 0.3));
      session = await openSession(encodeOnnx(languageModelGraph(config, initial, slots)), { threads: 1 });
      weights = Object.fromEntries(initial.tensors);
    });
    after(() => session.close());

    async function losses(documents: readonly TokenDocument[], length: number): Promise<number[]> {
      const feeds = packedFeeds([documents], length);
      const { token_loss } = await session.run({ ...weights, ...feeds }, ["token_loss"]);
      const scored = feeds.target_weights?.data as Float32Array;
      return Array.from(token_loss?.data as Float32Array).filter((_, place) => (scored[place] ?? 0) > 0);
    }

    it("give each text the losses that it has alone after its slot, with no weight on known tokens", async () => {
      const one = { conditioningLabels, texts: [{ ids: [5, 6, 7], known: 2 }] };
      const two = { conditioningLabels, texts: [{ ids: [9, 10], known: 0 }] };
      const both = { conditioningLabels, texts: [...one.texts, ...two.texts] };
      const other = { conditioningLabels: conditioningLabels.slice(1), texts: [{ ids: [4], known: 0 }] };
      const alone = [
        ...(await losses([plain(8)], 2)),
        ...(await losses([other], 3)),
        ...(await losses([one], 5)),
        ...(await losses([two], 4)),
      ];
      assert.equal(alone.length, 2 + 2 + 2 + 3);
      const packed = await losses([plain(8), other, both], 14);
      alone.forEach((loss, place) => {
        assert.ok(Math.abs(loss - (packed[place] ?? 0)) < 1e-5, `${loss}, ${packed[place]}`);
      });
      const withoutHints = await losses([{ ...two, conditioningLabels: [] }], 3);
      assert.ok(Math.abs((withoutHints[0] ?? 0) - (alone[6] ?? 0)) > 1e-3, "conditioning labels have no effect");
    });

    it("give the losses of a perceptual token that is the sum of the conditioning labels", async () => {
      const ids = [5, 6, 7];
      const read = await losses([{ conditioningLabels, texts: [{ ids, known: 0 }] }], 5);
      const perceived = await perceptualLosses(weights, conditioningLabels, ids);
      assert.equal(read.length, perceived.length);
      read.forEach((loss, place) => {
        assert.ok(Math.abs(loss - (perceived[place] ?? 0)) < 1e-5, `${loss}, ${perceived[place]}`);
      });
    });
  });
});

/**
 * Losses from the graph with which adapters are trained. Its connector is the identity, and its state is the expected
 * content of the slot.
 */
async function perceptualLosses(
  weights: Readonly<Record<string, Tensor>>,
  given: typeof conditioningLabels,
  ids: readonly number[],
): Promise<number[]> {
  const width = config.hidden_size;
  const sequenceAt = (name: string, row: number) =>
    weights[name]?.data.subarray(row * width, (row + 1) * width) as Float32Array;
  const state = new Float32Array(width);
  for (const hint of given) {
    for (const id of hint.ids) {
      const [token, attribute] = [sequenceAt("embed_tokens.weight", id), sequenceAt("aspects", hint.attribute)];
      token.forEach((value, i) => {
        state[i] = (state[i] ?? 0) + (hint.weight / hint.ids.length) * value * (attribute[i] ?? 0);
      });
    }
  }
  const identity = Float32Array.from({ length: width * width }, (_, i) => (i % (width + 1) === 0 ? 1 : 0));
  const settings = {
    startLayer: slots.startLayer,
    endLayer: slots.endLayer,
    injectedStates: 1,
    sharedConnector: true,
    perceptionSees: "itself",
    promptLength: 0,
    promptForm: "table",
  } as const;
  const widths = { encoder: width, decoder: width, embedding: width };
  const trained = adapterShapes(settings, widths);
  const g = new GraphBuilder("perceptual");
  const backbone = opt(config, new ParameterReader(g, weightsInMemory(new Map(Object.entries(weights)), "test")));
  const graph = lossGraph(g, backbone, { settings, widths, depth: 1, trained });
  const text = BigInt64Array.from([END_TOKEN, ...ids, END_TOKEN].map(BigInt));
  const shape = [1, text.length];
  const feeds = trainingFeeds(
    {
      ids: { type: "int64", shape, data: text },
      mask: { type: "int64", shape, data: new BigInt64Array(text.length).fill(1n) },
    },
    { states: { type: "float32", shape: [1, 1, width], data: state } },
    trainingLayout(settings, widths, config.num_hidden_layers),
    { weightOf: () => 1 },
  );
  const adapter = Object.fromEntries(
    Array.from(trained, ([name, shape]): [string, Tensor] => {
      const data = name === "connector.0.weight" ? identity : new Float32Array(elementCount(shape));
      return [name, { type: "float32", shape, data }];
    }),
  );
  const session = await openSession(encodeOnnx(graph), { threads: 1 });
  const { token_loss } = await session.run({ ...feeds, ...adapter }, ["token_loss"]);
  await session.close();
  return Array.from(token_loss?.data as Float32Array);
}
