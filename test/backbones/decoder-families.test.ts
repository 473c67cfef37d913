import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { ClsInjectionSettings } from "../../src/adapter/adapter.js";
import { adapterShapes } from "../../src/adapter/adapter.js";
import { adapterGraph } from "../../src/adapter/adapter-graph.js";
import type { AdapterWidths } from "../../src/adapter/adapter-widths.js";
import { decoderGraph } from "../../src/adapter/decoder-graph.js";
import { injectionPlan, visualTokenPlan } from "../../src/adapter/injection-plan.js";
import { gradientName } from "../../src/autodiff/gradient.js";
import type { DecoderBackbone, DecoderShape } from "../../src/backbones/backbone.js";
import { ParameterReader } from "../../src/backbones/parameters.js";
import { decoderArchitecture } from "../../src/backbones/registry.js";
import { Weights } from "../../src/formats/weights.js";
import { Decoder } from "../../src/generation/decoder.js";
import { Engine } from "../../src/generation/engine.js";
import { type SequenceContext, statesByLayer } from "../../src/generation/sequence.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Graph } from "../../src/graph/ir.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession, type Session } from "../../src/runtime/session.js";
import { elementCount, type Tensor } from "../../src/tensor/tensor.js";
import { AdamW, torchDefaults } from "../../src/training/adamw.js";
import { paddedBatchFeeds } from "../../src/training/adapter/padded-batch.js";
import { trainingFeeds } from "../../src/training/adapter/training-batch.js";
import { lossGraph, trainingGraph, trainingLayout } from "../../src/training/adapter/training-graph.js";
import { writingJob } from "../support/golden-decoder.js";
import { golden, openWeights, readConfig, variedDecoders } from "../support/tiny-backbones.js";

const NEW_TOKENS = 8;
/** Two orders of summation in float32. */
const TOLERANCE = 1e-4;

function build(name: string, make: (g: GraphBuilder, backbone: DecoderBackbone) => Graph): Graph {
  const config = readConfig(name);
  const architecture = decoderArchitecture(String(config.model_type), name);
  const g = new GraphBuilder(name);
  const weights = new Weights(openWeights(name), { rename: architecture.rename });
  return make(g, architecture.build(config, new ParameterReader(g, weights)));
}

function waves(shape: readonly number[], phase: number, size = 1): Tensor {
  const data = Float32Array.from({ length: elementCount(shape) }, (_, i) => size * Math.sin(1.7 * i + phase));
  return { type: "float32", shape, data };
}

function rowsOf(tensor: Tensor): number[][] {
  const [rows = 0, length = 0] = tensor.shape;
  return Array.from({ length: rows }, (_, row) =>
    Array.from(tensor.data.slice(row * length, (row + 1) * length) as BigInt64Array, Number),
  );
}

function assertNear(found: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assert.equal(found.length, expected.length, what);
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(Number(found[i]) - Number(expected[i]));
    assert.ok(difference <= TOLERANCE, `${what} ${i}: ${found[i]}, expected ${expected[i]}`);
  }
}

const settings: ClsInjectionSettings = {
  injectedStates: 1,
  startLayer: 1,
  endLayer: 2,
  perceptionSees: "everything",
  sharedConnector: true,
  promptLength: 3,
  promptForm: "table",
};

/** Settings with which the slot is cached, and with which it is computed in every step. */
const variants = (layers: number): readonly ClsInjectionSettings[] => [
  { ...settings, perceptionSees: "itself" },
  { ...settings, endLayer: layers },
];

function widthsOf({ width, embeddingWidth }: DecoderShape): AdapterWidths {
  return { encoder: 6, decoder: width, embedding: embeddingWidth };
}

for (const name of variedDecoders) {
  describe(`decoder ${name}`, () => {
    let session: Session;
    let shape: DecoderShape;
    let texts: number[][];

    before(async () => {
      const graph = build(name, (g, backbone) => {
        shape = backbone.shape;
        return decoderGraph(g, backbone);
      });
      session = await openSession(encodeOnnx(graph), { threads: 1 });
      texts = rowsOf(golden(name, "input_ids"));
    });
    after(() => session.close());

    async function greedy(contexts: readonly SequenceContext[], prompts: readonly (readonly number[])[]) {
      const engine = new Engine(new Decoder(session, shape));
      const jobs = prompts.map((prompt, i) => writingJob(contexts[i] ?? {}, prompt, { maxNewTokens: NEW_TOKENS }, []));
      await Promise.all(jobs.map(({ job }) => engine.run(job)));
      return jobs.map(({ hypotheses }) => hypotheses()[0]);
    }

    it("continues texts with transformers' greedy tokens, from the cache and in a batch of different lengths", async () => {
      const expected = rowsOf(golden(name, "greedy"));
      const [first = [], second = []] = texts;
      const written = await greedy(
        [],
        [first, second, first.slice(0, 3), [...second, ...(expected[1] ?? []).slice(0, 2)]],
      );
      assert.deepEqual(written[0]?.tokens, expected[0]);
      assert.deepEqual(written[1]?.tokens, expected[1]);
      assert.deepEqual(written[3]?.tokens.slice(0, NEW_TOKENS - 2), expected[1]?.slice(2));
      const [alone] = await greedy([], [first.slice(0, 3)]);
      assert.deepEqual(written[2]?.tokens, alone?.tokens);
    });

    function contextOf(own: ClsInjectionSettings, phase: number): SequenceContext {
      const plan = injectionPlan(own, shape.layers);
      const states = statesByLayer(waves([1, shape.width], phase), plan);
      return { perception: { plan, states }, softPrompt: waves([own.promptLength, shape.embeddingWidth], phase, 0.3) };
    }

    it("gives the same log-probabilities from the cache as recomputed, with a perceptual token and a soft prompt", async () => {
      for (const own of variants(shape.layers)) {
        const contexts = [contextOf(own, 1), {}, contextOf(own, 2)];
        const prompts = [texts[0] ?? [], texts[1] ?? [], (texts[1] ?? []).slice(0, 2)];
        const written = await greedy(contexts, prompts);
        for (const [index, context] of contexts.entries()) {
          const { tokens, logProbs } = written[index] ?? { tokens: [], logProbs: [] };
          assert.equal(tokens.length, NEW_TOKENS);
          const decoder = new Decoder(session, shape);
          const text = [...(prompts[index] ?? []), ...tokens].slice(0, -1);
          const [output] = await decoder.step({
            sources: [undefined],
            cachedLengths: [0],
            first: 0,
            scheduled: [{ sequence: { context, text, cached: 0 }, active: true, needs: { kind: "targets", tokens } }],
          });
          assertNear(logProbs, output?.targetLogProbs ?? [], `sequence ${index}, ${own.perceptionSees}`);
        }
      }
    });

    /** A padded batch of two texts of different lengths, with encoder states. */
    function batch() {
      const length = texts[0]?.length ?? 0;
      const mask = texts.flatMap((_, row) => Array.from({ length }, (_, i) => BigInt(row === 0 || i < length - 4)));
      const ids = texts.flat().map((id, i) => (mask[i] ? BigInt(id) : 1n));
      const tensor = (data: readonly bigint[]): Tensor => ({
        type: "int64",
        shape: [texts.length, length],
        data: BigInt64Array.from(data),
      });
      return { texts: { ids: tensor(ids), mask: tensor(mask) }, states: waves([texts.length, 2, 6], 3) };
    }

    function adapterTensors(own: ClsInjectionSettings): Map<string, Tensor> {
      const widths = widthsOf(shape);
      return new Map(
        Array.from(adapterShapes(own, widths), ([key, size], index) => [key, waves(size, index, 0.2)] as const),
      );
    }

    it("is trained with the loss that it has when it serves", async () => {
      for (const own of variants(shape.layers)) {
        const { texts: padded, states } = batch();
        const tensors = adapterTensors(own);
        const trained = new Map(Array.from(tensors, ([key, tensor]) => [key, tensor.shape]));
        const graph = build(name, (g, backbone) =>
          lossGraph(g, backbone, { settings: own, widths: widthsOf(shape), depth: 2, trained }),
        );
        const training = await openSession(encodeOnnx(graph), { threads: 1 });
        const feeds = trainingFeeds(padded, { states }, trainingLayout(own, widthsOf(shape), shape.layers), {
          weightOf: () => 1,
        });
        const { token_loss } = await training.run({ ...feeds, ...Object.fromEntries(tensors) }, ["token_loss"]);
        await training.close();

        const widths = widthsOf(shape);
        const projector = await openSession(encodeOnnx(adapterGraph({ settings: own, tensors }, widths, 2)), {
          threads: 1,
        });
        const projected = await projector.run({ cls_states: states }, ["perception", "soft_prompt"]);
        await projector.close();
        const plan = injectionPlan(own, shape.layers);
        const served = paddedBatchFeeds(
          padded,
          projected.perception as Tensor,
          projected.soft_prompt as Tensor,
          plan,
          shape,
        );
        const results = await session.run(served, ["log_normalizer", "target_logits"]);
        const lead = 1 + own.promptLength;
        const length = padded.ids.shape[1] ?? 0;
        const expected = Array.from(padded.mask.data as BigInt64Array).flatMap((isText, i) => {
          const place = i % length;
          if (!isText || place === 0) return [];
          const at = Math.floor(i / length) * (lead + length) + lead + place - 1;
          return [Number(results.log_normalizer?.data[at]) - Number(results.target_logits?.data[at])];
        });
        assertNear(token_loss?.data as Float32Array, expected, `loss, ${own.perceptionSees}`);
      }
    });

    it("is trained with the loss that it has when it serves, with visual tokens at all layers or at some", async () => {
      const patches = { frames: 1, rows: 2, columns: 4 };
      const widths = { ...widthsOf(shape), patches };
      const connector = { kind: "prefix", states: "all", projection: "linear", norm: false } as const;
      for (const range of [
        { startLayer: 0, endLayer: shape.layers },
        { startLayer: 1, endLayer: shape.layers },
        { startLayer: 0, endLayer: 1 },
      ]) {
        const own = { connector, ...range, promptLength: 2, promptForm: "table" } as const;
        const { texts: padded } = batch();
        const states = waves([texts.length, 1, 8, 6], 5);
        const tensors = new Map(
          Array.from(adapterShapes(own, widths), ([key, size], index) => [key, waves(size, index, 0.2)] as const),
        );
        const trained = new Map(Array.from(tensors, ([key, tensor]) => [key, tensor.shape]));
        const graph = build(name, (g, backbone) =>
          lossGraph(g, backbone, { settings: own, widths, depth: 1, trained }),
        );
        const training = await openSession(encodeOnnx(graph), { threads: 1 });
        const layout = trainingLayout(own, widths, shape.layers);
        const feeds = trainingFeeds(padded, { states }, layout, { weightOf: () => 1 });
        const { token_loss } = await training.run({ ...feeds, ...Object.fromEntries(tensors) }, ["token_loss"]);
        await training.close();

        const projector = await openSession(encodeOnnx(adapterGraph({ settings: own, tensors }, widths, 1)), {
          threads: 1,
        });
        const projected = await projector.run({ patch_states: states }, ["visual_tokens", "soft_prompt"]);
        await projector.close();
        const size = 8 * shape.embeddingWidth;
        const plan = visualTokenPlan(own, shape.layers);
        const scheduled = texts.map((text, row) => {
          const data = projected.visual_tokens?.data.slice(row * size, (row + 1) * size) as Float32Array;
          const tokens: Tensor = { type: "float32", shape: [8, shape.embeddingWidth], data };
          const context = { softPrompt: projected.soft_prompt, visual: { plan, tokens, textBefore: 0 } };
          const whole = row === 0 ? text : text.slice(0, text.length - 4);
          const needs = { kind: "targets", tokens: whole.slice(1) } as const;
          return { sequence: { context, text: whole.slice(0, -1), cached: 0 }, active: true, needs };
        });
        const none = texts.map(() => undefined);
        const outputs = await new Decoder(session, shape).step({
          sources: none,
          cachedLengths: texts.map(() => 0),
          first: 0,
          scheduled,
        });
        const expected = outputs.flatMap(({ targetLogProbs }) => targetLogProbs.map((logProb) => -logProb));
        assertNear(token_loss?.data as Float32Array, expected, `layers ${range.startLayer} to ${range.endLayer}`);
      }
    });

    it("has gradients that equal finite differences, and a loss that falls", async () => {
      const { texts: padded, states } = batch();
      const tensors = adapterTensors(settings);
      const trained = new Map(Array.from(tensors, ([key, tensor]) => [key, tensor.shape]));
      const options = { settings, widths: widthsOf(shape), depth: 2, trained };
      const graph = build(name, (g, backbone) => trainingGraph(g, backbone, options));
      const training = await openSession(encodeOnnx(graph), { threads: 1 });
      const weightOf = () => 1 / 10;
      const feeds = trainingFeeds(padded, { states }, trainingLayout(settings, widthsOf(shape), shape.layers), {
        weightOf,
      });
      const keys = Array.from(tensors.keys());
      const run = (weights: ReadonlyMap<string, Tensor>) => {
        const copies = Array.from(weights, ([key, tensor]) => [key, { ...tensor, data: tensor.data.slice() }] as const);
        return training.run({ ...feeds, ...Object.fromEntries(copies) }, ["loss", ...keys.map(gradientName)]);
      };
      const first = await run(tensors);
      const gradientOf = (key: string) => first[gradientName(key)]?.data as Float32Array;
      const norm = Math.sqrt(keys.reduce((sum, key) => sum + gradientOf(key).reduce((s, v) => s + v * v, 0), 0));
      const moved = async (step: number) => {
        const data = (key: string, tensor: Tensor) =>
          (tensor.data as Float32Array).map((value, i) => value + (step * (gradientOf(key)[i] ?? 0)) / norm);
        const { loss } = await run(new Map(Array.from(tensors, ([key, t]) => [key, { ...t, data: data(key, t) }])));
        return Number(loss?.data[0]);
      };
      const slope = ((await moved(2e-3)) - (await moved(-2e-3))) / 4e-3;
      assert.ok(Math.abs(slope / norm - 1) < 0.02, `slope along the gradient: ${slope}, expected ${norm}`);

      const optimizer = new AdamW(torchDefaults);
      let results = first;
      for (let step = 0; step < 10; step++) {
        const now = results;
        optimizer.step(
          tensors,
          (key) => now[gradientName(key)]?.data as Float32Array,
          () => ({ learningRate: 1e-2, weightDecay: 0 }),
        );
        results = await run(tensors);
      }
      await training.close();
      assert.ok(Number(results.loss?.data[0]) < Number(first.loss?.data[0]));
    });
  });
}
