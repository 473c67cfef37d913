import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { ClsInjectionSettings } from "../../../src/adapter/adapter.js";
import { adapterGraph } from "../../../src/adapter/adapter-graph.js";
import { decoderGraph } from "../../../src/adapter/decoder-graph.js";
import { injectionPlan } from "../../../src/adapter/injection-plan.js";
import { gradientName } from "../../../src/autodiff/gradient.js";
import type { DecoderShape } from "../../../src/backbones/backbone.js";
import { EpalmError } from "../../../src/core/errors.js";
import type { Graph } from "../../../src/graph/ir.js";
import { encodeOnnx } from "../../../src/graph/onnx-writer.js";
import { type Feeds, openSession, type Results, type Session } from "../../../src/runtime/session.js";
import type { Tensor } from "../../../src/tensor/tensor.js";
import { AdamW, torchDefaults } from "../../../src/training/adamw.js";
import { paddedBatchFeeds } from "../../../src/training/adapter/padded-batch.js";
import { lossGraph, trainingGraph } from "../../../src/training/adapter/training-graph.js";
import { assertClose, assertTensorClose } from "../../autodiff/relative-difference.js";
import { tolerances } from "../../autodiff/tolerances.js";
import {
  type GoldenModel,
  goldenNames,
  graphOptions,
  modelFeeds,
  openGoldenModel,
} from "../../support/golden-model.js";

async function withSession<T>(graph: Graph, use: (session: Session) => Promise<T>): Promise<T> {
  const session = await openSession(encodeOnnx(graph), { threads: 1 });
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

function floats(results: Results, name: string): Float32Array {
  return results[name]?.data as Float32Array;
}

describe("training graph against torch", () => {
  for (const name of goldenNames) {
    it(`${name}: gradients, and three steps of AdamW`, async () => {
      const model = await openGoldenModel(name);
      const graph = model.graph((g, backbone) => trainingGraph(g, backbone, graphOptions(model)));
      await withSession(graph, (session) => checkSteps(model, session));
    });
  }
});

/** The optimizer of the reference, where the loss of a batch is the mean over its examples. */
async function checkSteps(model: GoldenModel, session: Session): Promise<void> {
  const optimizer = new AdamW(torchDefaults);
  const weights = new Map(
    Array.from(model.adapter.tensors, ([name, tensor]) => [name, { ...tensor, data: tensor.data.slice() }]),
  );
  const names = Array.from(weights.keys());
  for (let step = 0; step < 3; step++) {
    // A session may keep the tensors it received, so each run gets new ones.
    const trained = Object.fromEntries(Array.from(weights, ([name, tensor]) => [name, { ...tensor }]));
    const results = await session.run({ ...modelFeeds(model), ...trained }, ["loss", ...names.map(gradientName)]);
    const close = (found: string, expected: string) =>
      assertTensorClose(expected, results[found] as Tensor, model.golden(expected), tolerances.golden);
    if (step === 0) for (const name of names) close(gradientName(name), `grad.${name}`);
    close("loss", `adamw.loss.${step}`);
    optimizer.step(
      weights,
      (name) => floats(results, gradientName(name)),
      () => ({ learningRate: 1e-2, weightDecay: 0.02 }),
    );
  }
  for (const [name, tensor] of weights) {
    const expected = `adamw.after3.${name}`;
    assertTensorClose(expected, tensor, model.golden(expected), tolerances.golden);
  }
}

/** Layers from which the slot exists and is no longer overwritten, in decoders of six layers. */
const places = [
  { startLayer: 0, endLayer: 6 },
  { startLayer: 2, endLayer: 5 },
  { startLayer: 1, endLayer: 3 },
  { startLayer: 5, endLayer: 6 },
] as const;

for (const name of ["opt-6states-mlp10", "opt-post-norm-projected", "llama-shared-1token"] as const) {
  describe(`training graph and decoder graph of ${name}`, () => {
    let model: GoldenModel;
    let decoder: Session;
    let shape: DecoderShape;

    before(async () => {
      model = await openGoldenModel(name);
      const graph = model.graph((g, backbone) => {
        shape = backbone.shape;
        return decoderGraph(g, backbone);
      });
      decoder = await openSession(encodeOnnx(graph), { threads: 1 });
    });
    after(() => decoder.close());

    for (const perceptionSees of ["everything", "itself"] as const) {
      for (const { startLayer, endLayer } of places) {
        it(`give every token the same loss: slot sees ${perceptionSees}, layers ${startLayer} to ${endLayer}`, async () => {
          const settings = { ...model.adapter.settings, perceptionSees, startLayer, endLayer };
          const expected = await decoderLosses(model, decoder, shape, settings);
          const graph = model.graph((g, backbone) => lossGraph(g, backbone, graphOptions(model, settings)));
          const feeds = modelFeeds(model, settings, () => 1);
          const results = await withSession(graph, (session) => session.run(feeds, ["loss", "token_loss"]));
          assertClose("token losses", floats(results, "token_loss"), expected, tolerances.sameModel);
          const sum = expected.reduce((total, loss) => total + loss, 0);
          assertClose("loss", floats(results, "loss"), [sum], tolerances.sameModel);
        });
      }
    }
  });
}

/** Cross-entropy of each text token except the first, computed by the serving graph. */
async function decoderLosses(
  model: GoldenModel,
  decoder: Session,
  shape: DecoderShape,
  settings: ClsInjectionSettings,
): Promise<number[]> {
  const { perception, prompt } = await runAdapter(model, shape, settings);
  const { texts } = model;
  const plan = injectionPlan(settings, shape.layers);
  const feeds = paddedBatchFeeds(texts, perception, prompt, plan, shape);
  const results = await decoder.run(feeds, ["log_normalizer", "target_logits"]);
  const [normalizers, targets] = [floats(results, "log_normalizer"), floats(results, "target_logits")];
  return scoredPlaces(texts.mask).map(({ row, place }) => {
    const lead = 1 + settings.promptLength;
    const at = row * (lead + (texts.mask.shape[1] ?? 0)) + lead + place - 1;
    return (normalizers[at] ?? Number.NaN) - (targets[at] ?? Number.NaN);
  });
}

async function runAdapter({ adapter, states }: GoldenModel, shape: DecoderShape, settings: ClsInjectionSettings) {
  const [, depth = 0, encoder = 0] = states.shape;
  const widths = { encoder, decoder: shape.width, embedding: shape.embeddingWidth };
  const graph = adapterGraph({ ...adapter, settings }, widths, depth);
  const fetches = ["perception", "soft_prompt"];
  const results = await withSession(graph, (session) => session.run({ cls_states: states }, fetches));
  return { perception: results.perception as Tensor, prompt: results.soft_prompt as Tensor };
}

/** Indices of the text tokens except the first. */
function scoredPlaces(mask: Tensor): { row: number; place: number }[] {
  const length = mask.shape[1] ?? 0;
  const isText = Array.from(mask.data as BigInt64Array, (value) => value !== 0n);
  return isText.flatMap((text, i) =>
    text && i % length > 0 ? [{ row: Math.floor(i / length), place: i % length }] : [],
  );
}

describe("training graph", () => {
  let model: GoldenModel;
  before(async () => {
    model = await openGoldenModel("opt-6states-mlp10");
  });

  it("has a gradient output for exactly the trained tensors", () => {
    const trained = ["connector.1.weight", "connector.1.bias"];
    const options = graphOptions(model);
    const graph = model.graph((g, backbone) => {
      for (const [name, tensor] of model.adapter.tensors) {
        const { type, shape } = tensor;
        if (!trained.includes(name)) g.weight(name, { type, shape, read: () => tensor.data.slice() });
      }
      const some = new Map(trained.map((name) => [name, options.trained.get(name) ?? []]));
      return trainingGraph(g, backbone, { ...options, trained: some });
    });
    assert.deepEqual(
      graph.outputs.map(({ name }) => name),
      ["token_loss", "loss", ...trained.map(gradientName)],
    );
  });

  it("computes logits only where there is a target", () => {
    const graph = model.graph((g, backbone) => {
      const { vocabulary } = backbone.shape;
      const built = trainingGraph(g, backbone, { ...graphOptions(model), labelSmoothing: 0.1 });
      const made = built.nodes.flatMap(({ outputs }) => outputs.map((name) => built.values.get(name)));
      const wide = made.filter((value) => value?.shape.includes(vocabulary));
      assert.ok(wide.length >= 4, "logits, log-probabilities, and gradients of both");
      for (const value of wide) assert.deepEqual(value?.shape, ["scored", vocabulary], value?.name);
      return built;
    });
    assert.ok(graph.nodes.some(({ op }) => op === "SoftmaxCrossEntropyLoss"));
  });

  it("can score part of a text: the loss is the weighted sum of these tokens", async () => {
    const graph = model.graph((g, backbone) => trainingGraph(g, backbone, graphOptions(model)));
    const weightOf = (row: number, place: number) => (place < 4 + row ? 0 : 0.5 * place);
    await withSession(graph, async (session) => {
      const all = await session.run(
        modelFeeds(model, undefined, () => 1),
        ["token_loss"],
      );
      const some = await session.run(modelFeeds(model, undefined, weightOf), ["token_loss", "loss"]);
      const weighted = scoredPlaces(model.texts.mask).map(({ row, place }, index) => ({
        weight: weightOf(row, place),
        loss: floats(all, "token_loss")[index] ?? Number.NaN,
      }));
      const kept = weighted.filter(({ weight }) => weight > 0);
      assert.ok(kept.length > 0 && kept.length < weighted.length);
      const losses = kept.map(({ loss }) => loss);
      assertClose("token losses", floats(some, "token_loss"), losses, tolerances.sameModel);
      const sum = kept.reduce((total, { loss, weight }) => total + loss * weight, 0);
      assertClose("loss", floats(some, "loss"), [sum], tolerances.sameModel);
    });
  });

  it("has gradients that are additive over parts of a text", async () => {
    const graph = model.graph((g, backbone) => trainingGraph(g, backbone, graphOptions(model)));
    const names = Array.from(model.adapter.tensors.keys(), gradientName);
    await withSession(graph, async (session) => {
      const gradients = async (counts: (place: number) => boolean) =>
        session.run(
          modelFeeds(model, undefined, (_, place) => Number(counts(place))),
          names,
        );
      const whole = await gradients(() => true);
      const [start, end] = [await gradients((place) => place < 5), await gradients((place) => place >= 5)];
      for (const name of names) {
        const sum = floats(start, name).map((value, i) => value + (floats(end, name)[i] ?? Number.NaN));
        assertClose(name, sum, floats(whole, name), tolerances.sameModel);
      }
    });
  });

  it("leaves out the columns after the last token that predicts a target", async () => {
    const own: ClsInjectionSettings = { ...model.adapter.settings, perceptionSees: "itself" };
    const [batch = 0, length = 0] = model.texts.ids.shape;
    const padded = (tensor: Tensor): Tensor => {
      const rows = Array.from({ length: batch }, (_, row) => [
        ...Array.from(tensor.data.subarray(row * length, (row + 1) * length), BigInt),
        ...[0n, 0n, 0n],
      ]);
      return { type: "int64", shape: [batch, length + 3], data: BigInt64Array.from(rows.flat()) };
    };
    const longer = { ...model, texts: { ids: padded(model.texts.ids), mask: padded(model.texts.mask) } };
    const early = (_: number, place: number) => Number(place < 4);
    assert.deepEqual(modelFeeds(longer, own).input_ids?.shape, [batch, length - 1]);
    assert.deepEqual(modelFeeds(longer, own, early).input_ids?.shape, [batch, 3]);
    const all: ClsInjectionSettings = { ...own, perceptionSees: "everything" };
    assert.deepEqual(modelFeeds(longer, all, early).input_ids?.shape, [batch, length + 3]);
    // With a target in its last column, a batch keeps the columns that the other one leaves out.
    const graph = model.graph((g, backbone) => trainingGraph(g, backbone, graphOptions(model, own)));
    const names = Array.from(model.adapter.tensors.keys(), gradientName);
    await withSession(graph, async (session) => {
      const few = await session.run(modelFeeds(longer, own, early), ["loss", ...names]);
      const tiny = (row: number, place: number) => early(row, place) || Number(place === length - 1) * 1e-30;
      const many = await session.run(modelFeeds(longer, own, tiny), ["loss", ...names]);
      for (const name of ["loss", ...names]) {
        assertClose(name, floats(few, name), floats(many, name), tolerances.sameModel);
      }
    });
  });

  it("rejects a batch without scored tokens", () => {
    assert.throws(
      () => modelFeeds(model, undefined, () => 0),
      (error) =>
        error instanceof EpalmError &&
        error.code === "invalid_option" &&
        /expected a token with a weight above 0 in its 3 texts, got none/.test(error.message),
    );
  });

  it("spreads a fraction of each target's probability over the vocabulary", async () => {
    const share = 0.2;
    const graph = model.graph((g, backbone) =>
      lossGraph(g, backbone, { ...graphOptions(model), labelSmoothing: share }),
    );
    const plain = await withSession(graph, (session) =>
      session.run(
        modelFeeds(model, undefined, () => 1),
        ["loss", "token_loss"],
      ),
    );
    const everywhere = meanOverVocabulary(model);
    const expected = floats(plain, "token_loss").reduce(
      (sum, loss, index) => sum + (1 - share) * loss + share * (everywhere[index] ?? Number.NaN),
      0,
    );
    assertClose("loss", floats(plain, "loss"), [expected], tolerances.sameModel);
  });

  const slopes = [
    { what: "with label smoothing", labelSmoothing: 0.2, settings: {} },
    { what: "of a slot that is left alone early", settings: { startLayer: 1, endLayer: 3 } },
    {
      what: "of a slot that sees itself alone, from the first layer",
      settings: { startLayer: 0, endLayer: 4, perceptionSees: "itself" },
    },
  ] as const;
  for (const { what, settings, ...options } of slopes) {
    it(`has the gradient of its loss ${what}`, async () => {
      const own = { ...model.adapter.settings, ...settings };
      const graph = model.graph((g, backbone) =>
        trainingGraph(g, backbone, { ...graphOptions(model, own), ...options }),
      );
      const { found, expected } = await withSession(graph, (session) =>
        slopeAlongGradient(model, session, modelFeeds(model, own)),
      );
      assertClose("slope", [found], [expected], tolerances.modelSlope);
    });
  }
});

/** -mean(log p) over the vocabulary for each scored token, from torch's logits. */
function meanOverVocabulary({ golden, texts, adapter }: GoldenModel): number[] {
  const logits = golden("logits");
  const [, width = 0, vocabulary = 0] = logits.shape;
  return scoredPlaces(texts.mask).map(({ row, place }) => {
    // Rows are [slot, soft tokens, text]; the token before the target predicts it.
    const at = row * width + adapter.settings.promptLength + place;
    const scores = Array.from(logits.data.subarray(at * vocabulary, (at + 1) * vocabulary), Number);
    const normalizer = Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0));
    return normalizer - scores.reduce((sum, score) => sum + score, 0) / vocabulary;
  });
}

/** The norm of the gradient, and the central difference of the loss over a short distance along it. */
async function slopeAlongGradient(model: GoldenModel, session: Session, feeds: Feeds) {
  const names = Array.from(model.adapter.tensors.keys());
  const results = await session.run(feeds, names.map(gradientName));
  const expected = Math.hypot(...names.flatMap((name) => Array.from(floats(results, gradientName(name)))));
  const lossAt = async (way: number) => {
    const moved = names.map((name): [string, Tensor] => {
      const slope = floats(results, gradientName(name));
      const { shape, data } = model.adapter.tensors.get(name) as Tensor;
      const values = (data as Float32Array).map((value, i) => value + (way * (slope[i] as number)) / expected);
      return [name, { type: "float32", shape, data: values }];
    });
    const { loss } = await session.run({ ...feeds, ...Object.fromEntries(moved) }, ["loss"]);
    return Number(loss?.data[0]);
  };
  const way = 1 / 1024;
  return { found: ((await lossAt(way)) - (await lossAt(-way))) / (2 * way), expected };
}
