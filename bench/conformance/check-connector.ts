import { join } from "node:path";
import { type Adapter, adapterShapes } from "../../src/adapter/adapter.js";
import { readAdapter } from "../../src/adapter/adapter-file.js";
import { adapterGraph } from "../../src/adapter/adapter-graph.js";
import type { AdapterWidths } from "../../src/adapter/adapter-widths.js";
import { decoderGraph } from "../../src/adapter/decoder-graph.js";
import { injectionPlan, type VisualTokenPlan, visualTokenPlan } from "../../src/adapter/injection-plan.js";
import { dropoutOf } from "../../src/adapter/visual-connector.js";
import { gradientName } from "../../src/autodiff/gradient.js";
import type { DecoderBackbone, DecoderShape, PatchLayout } from "../../src/backbones/backbone.js";
import { ParameterReader } from "../../src/backbones/parameters.js";
import { decoderArchitecture } from "../../src/backbones/registry.js";
import { EpalmError } from "../../src/core/errors.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import { Weights } from "../../src/formats/weights.js";
import { Decoder } from "../../src/generation/decoder.js";
import { Engine } from "../../src/generation/engine.js";
import { EMPTY_TIME, KeyValueCache } from "../../src/generation/key-value-cache.js";
import { parseGenerationOptions } from "../../src/generation/options.js";
import { DecodingRequest } from "../../src/generation/request.js";
import { pendingCount, type SequenceContext, statesByLayer } from "../../src/generation/sequence.js";
import type { ScheduledSequence } from "../../src/generation/step.js";
import { stepInputs } from "../../src/generation/step-inputs.js";
import { createStrategy } from "../../src/generation/strategies/create-strategy.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Graph } from "../../src/graph/ir.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { readJson } from "../../src/model/source-folder.js";
import type { Session } from "../../src/runtime/session.js";
import { elementCount, type Tensor } from "../../src/tensor/tensor.js";
import { AdamW, torchDefaults } from "../../src/training/adamw.js";
import { trainingFeeds } from "../../src/training/adapter/training-batch.js";
import { trainingGraph, trainingLayout } from "../../src/training/adapter/training-graph.js";
import { type Check, closeTo, sameTokens } from "./compare.js";
import { openSession } from "./open-session.js";

/** Largest difference between torch and the graphs, in relation to the largest magnitude. */
const TOLERANCE = 1e-5;

const STEPS = 3;
const stepSize = { learningRate: 1e-2, weightDecay: 0.02 };

/** Tokens that are generated for the comparison of cached and recomputed states. */
const NEW_TOKENS = 6;

/** File that a folder of a connector contains. */
export const CONNECTOR_FILE = "connector.json";

/** An adapter with visual tokens, its decoder, and the numbers of torch. */
interface ConnectorCase {
  readonly adapter: Adapter;
  readonly layout: PatchLayout;
  readonly textBefore: number;
  readonly decoderFolder: string;
  golden(name: string): Tensor;
}

/**
 * Compares an adapter with visual tokens with torch: its tokens, the logits of a ragged batch, losses, gradients and
 * three steps of AdamW; and cached generation with recomputation, in a batch of sequences with visual tokens, with a
 * perceptual slot and with neither.
 */
export async function checkConnector(folder: string): Promise<Check[]> {
  const known = await openConnectorCase(folder);
  const { shape, graph } = decoderOf(known.decoderFolder, (g, backbone) => decoderGraph(g, backbone));
  const session = await openSession(encodeOnnx(graph), { threads: 1 });
  try {
    const widths = { encoder: widthOf(known), decoder: shape.width, embedding: shape.embeddingWidth };
    const given = { ...widths, patches: known.layout };
    const { tokens, contexts } = await contextsOf(known, given, shape);
    return [
      closeTo("visual tokens", tokens, known.golden("visual_tokens"), 0, TOLERANCE),
      ...(await checkLogits(known, session, shape, contexts)),
      await checkTextOnly(known, session, shape, contexts),
      ...(await checkGeneration(known, session, shape, contexts)),
      ...(await checkTraining(known, given)),
    ];
  } finally {
    await session.close();
  }
}

async function openConnectorCase(folder: string): Promise<ConnectorCase> {
  const { tensors } = openSafetensors(join(folder, "golden.safetensors"));
  const { decoder, layout, textBefore } = readJson(join(folder, CONNECTOR_FILE)) as unknown as {
    readonly decoder: string;
    readonly layout: PatchLayout;
    readonly textBefore: number;
  };
  return {
    adapter: await readAdapter(join(folder, "adapter.safetensors")),
    layout,
    textBefore,
    decoderFolder: join(folder, decoder),
    golden(name) {
      const source = tensors.get(name);
      if (!source) throw new EpalmError("not_found", `${folder}: golden.safetensors has no ${name}`);
      return { type: source.type, shape: source.shape, data: source.read() };
    },
  };
}

/** Builds a graph with the backbone of a public decoder. */
function decoderOf(folder: string, build: (g: GraphBuilder, backbone: DecoderBackbone) => Graph) {
  const config = readJson(join(folder, "config.json"));
  const { rename, build: read } = decoderArchitecture(String(config?.model_type), folder);
  const checkpoint = openSafetensors(join(folder, "model.safetensors"));
  const g = new GraphBuilder("decoder");
  const backbone = read(config, new ParameterReader(g, new Weights(checkpoint, { rename })));
  return { graph: build(g, backbone), shape: backbone.shape };
}

function widthOf({ golden }: ConnectorCase): number {
  return golden("patch_states").shape.at(-1) ?? 0;
}

/** The visual tokens of all rows, and the conditioning of each. */
async function contextsOf(known: ConnectorCase, widths: AdapterWidths, shape: DecoderShape) {
  const { adapter, golden, textBefore } = known;
  const projector = await openSession(encodeOnnx(adapterGraph(adapter, widths, 1)), { threads: 1 });
  const names = adapter.settings.promptLength > 0 ? ["visual_tokens", "soft_prompt"] : ["visual_tokens"];
  const results = await projector.run({ patch_states: golden("patch_states") }, names);
  await projector.close();
  const { visual_tokens: tokens, soft_prompt: softPrompt } = results;
  if (!tokens) throw new EpalmError("internal", "no visual tokens were computed");
  const plan: VisualTokenPlan = visualTokenPlan(adapter.settings, shape.layers);
  const contexts = Array.from({ length: tokens.shape[0] ?? 0 }, (_, row): SequenceContext => {
    return { softPrompt, visual: { plan, tokens: rowOf(tokens, row), textBefore } };
  });
  return { tokens, contexts };
}

function rowOf({ type, shape, data }: Tensor, row: number): Tensor {
  const [, ...rest] = shape;
  const size = elementCount(rest);
  return { type, shape: rest, data: data.slice(row * size, (row + 1) * size) };
}

/** The token ids of each text, without padding. */
function textsOf({ golden }: ConnectorCase): number[][] {
  const [ids, mask] = [golden("input_ids"), golden("attention_mask")];
  const [rows = 0, length = 0] = ids.shape;
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length }, (_, place) => row * length + place)
      .filter((at) => mask.data[at] !== 0n)
      .map((at) => Number(ids.data[at])),
  );
}

/** Logits of the text after the visual tokens, of texts of different lengths in one step. */
async function checkLogits(
  known: ConnectorCase,
  session: Session,
  shape: DecoderShape,
  contexts: readonly SequenceContext[],
): Promise<Check[]> {
  const texts = textsOf(known);
  const scheduled = texts.map((text, row) => ({
    sequence: { context: contexts[row] ?? {}, text, cached: 0 },
    active: true,
    needs: { kind: "targets", tokens: text.slice(known.textBefore) } as const,
  }));
  const { feeds } = stepInputs(scheduled, shape, EMPTY_TIME, 1);
  const cache = new KeyValueCache(shape).feeds(0, texts.length, true);
  const { logits } = await session.run({ ...feeds, ...cache }, ["logits"]);
  const golden = known.golden("text_logits");
  const [, length = 0] = golden.shape;
  const rows = texts.flatMap((text, row) =>
    Array.from({ length: text.length - known.textBefore }, (_, at) => row * length + known.textBefore + at),
  );
  const flat: Tensor = { ...golden, shape: [golden.data.length / shape.vocabulary, shape.vocabulary] };
  const data = Float32Array.from(rows.flatMap((row) => Array.from(rowOf(flat, row).data, Number)));
  const expected: Tensor = { type: "float32", shape: [rows.length, shape.vocabulary], data };
  return [closeTo("logits of a ragged batch", logits as Tensor, expected, 0, TOLERANCE)];
}

/** The logits of text without a medium are the same numbers, whatever runs beside it in a step of the same size. */
async function checkTextOnly(
  known: ConnectorCase,
  session: Session,
  shape: DecoderShape,
  contexts: readonly SequenceContext[],
): Promise<Check> {
  const [text = [], other = []] = textsOf(known);
  const [, context = {}] = contexts;
  const beside = async (second: ScheduledSequence["sequence"]) => {
    const scheduled = [{ context: {}, text, cached: 0 }, second].map((sequence, index) => ({
      sequence,
      active: true,
      needs: { kind: "targets", tokens: index === 0 ? text : [1] } as const,
    }));
    const { feeds } = stepInputs(scheduled, shape, EMPTY_TIME, 1);
    const { logits } = await session.run({ ...feeds, ...new KeyValueCache(shape).feeds(0, 2, true) }, ["logits"]);
    const data = (logits as Tensor).data.slice(0, text.length * shape.vocabulary);
    return { type: "float32", shape: [data.length], data } as const;
  };
  const withTokens = { context, text: other, cached: 0 };
  const asLong = { context: {}, text: new Array<number>(pendingCount(withTokens)).fill(5), cached: 0 };
  return closeTo("text only in the same step, bit for bit", await beside(withTokens), await beside(asLong), 0, 0);
}

/** Greedy tokens and their log-probabilities. */
interface Written {
  readonly tokens: readonly number[];
  readonly logProbs: readonly number[];
}

async function checkGeneration(
  known: ConnectorCase,
  session: Session,
  shape: DecoderShape,
  contexts: readonly SequenceContext[],
): Promise<Check[]> {
  const texts = textsOf(known);
  const slot = slotContext(shape);
  const requests = [
    ...texts.map((text, row) => ({ text, context: contexts[row] ?? {} })),
    { text: texts[0] ?? [], context: {} },
    { text: texts[1] ?? [], context: slot },
  ];
  const alone: Written[] = [];
  for (const { context, text } of requests) {
    alone.push(await generate(new Engine(new Decoder(session, shape)), context, text));
  }
  const shared = new Engine(new Decoder(session, shape), { maxSequences: 4, maxBatchedTokens: 60, promptChunk: 5 });
  const together = await Promise.all(requests.map(({ context, text }) => generate(shared, context, text)));
  const recomputed: number[][] = [];
  for (const [at, { context, text }] of requests.entries()) {
    recomputed.push(await recompute(new Decoder(session, shape), context, text, alone[at]?.tokens ?? []));
  }
  const numbers = (lists: readonly (readonly number[])[]): Tensor => {
    const data = Float32Array.from(lists.flat());
    return { type: "float32", shape: [data.length], data };
  };
  const found = numbers(alone.map(({ logProbs }) => logProbs));
  return [
    sameTokens(
      "greedy tokens, mixed batch = alone",
      together.flatMap(({ tokens }) => tokens),
      alone.flatMap(({ tokens }) => tokens),
    ),
    closeTo("mixed batch = alone", numbers(together.map(({ logProbs }) => logProbs)), found, 0, TOLERANCE),
    closeTo("cached = recomputed", found, numbers(recomputed), 0, TOLERANCE),
  ];
}

/** A perceptual slot, as an adapter with cls-injection has. */
function slotContext({ layers, width }: DecoderShape): SequenceContext {
  const settings = { injectedStates: 2, startLayer: 1, endLayer: layers - 1, perceptionSees: "everything" } as const;
  const plan = injectionPlan(settings, layers);
  const data = Float32Array.from({ length: 2 * width }, (_, i) => Math.sin(i));
  return { perception: { plan, states: statesByLayer({ type: "float32", shape: [2, width], data }, plan) } };
}

async function generate(engine: Engine, context: SequenceContext, text: readonly number[]): Promise<Written> {
  const options = parseGenerationOptions({ maxNewTokens: NEW_TOKENS });
  const strategy = createStrategy(options, { eosTokenIds: new Set(), decode: () => "" });
  await engine.run(new DecodingRequest(context, text, strategy));
  const [best] = strategy.hypotheses();
  return { tokens: best?.tokens ?? [], logProbs: best?.logProbs ?? [] };
}

/** Log-probabilities of tokens after a text, each from the whole sequence before it. */
async function recompute(
  decoder: Decoder,
  context: SequenceContext,
  text: readonly number[],
  tokens: readonly number[],
): Promise<number[]> {
  const logProbs: number[] = [];
  for (const [known, token] of tokens.entries()) {
    const sequence = { context, text: [...text, ...tokens.slice(0, known)], cached: 0 };
    const needs = { kind: "targets", tokens: [token] } as const;
    const scheduled = [{ sequence, active: true, needs }];
    const [output] = await decoder.step({ sources: [undefined], cachedLengths: [0], first: 0, scheduled });
    logProbs.push(...(output?.targetLogProbs ?? []));
    decoder.clear();
  }
  return logProbs;
}

async function checkTraining(known: ConnectorCase, widths: AdapterWidths): Promise<Check[]> {
  const { adapter, golden, textBefore } = known;
  const { settings } = adapter;
  const trained = adapterShapes(settings, widths);
  const { graph, shape } = decoderOf(known.decoderFolder, (g, backbone) =>
    trainingGraph(g, backbone, { settings, widths, depth: 1, trained }),
  );
  const session = await openSession(encodeOnnx(graph), { threads: 1, device: "cpu" });
  const texts = { ids: golden("input_ids"), mask: golden("attention_mask") };
  const [rows = 1] = texts.ids.shape;
  const media = { states: golden("patch_states"), textBefore: new Array<number>(rows).fill(textBefore) };
  const feeds = trainingFeeds(texts, media, trainingLayout(settings, widths, shape.layers), {
    weightOf: () => 1 / rows,
  });
  const masks =
    settings.connector && dropoutOf(settings.connector, known.layout) ? { dropout_masks: golden("dropout_masks") } : {};
  const weights = new Map(Array.from(adapter.tensors, ([name, one]) => [name, { ...one, data: one.data.slice() }]));
  const names = Array.from(weights.keys());
  const checks: Check[] = [];
  const optimizer = new AdamW(torchDefaults);
  for (let step = 0; step < STEPS; step++) {
    const inputs = Object.fromEntries(Array.from(weights, ([name, tensor]) => [name, { ...tensor }]));
    const results = await session.run({ ...feeds, ...masks, ...inputs }, ["loss", ...names.map(gradientName)]);
    const gradient = (name: string) => results[gradientName(name)] as Tensor;
    const expected = golden(`adamw.loss.${step}`);
    checks.push(closeTo(`loss before step ${step + 1}`, results.loss as Tensor, expected, 0, TOLERANCE));
    if (step === 0) {
      checks.push(worst("gradients", names, gradient, (name) => golden(`grad.${name}`)));
    }
    optimizer.step(
      weights,
      (name) => gradient(name).data as Float32Array,
      () => stepSize,
    );
  }
  await session.close();
  const after = (name: string) => weights.get(name) as Tensor;
  return [...checks, worst(`after ${STEPS} steps of AdamW`, names, after, (name) => golden(`adamw.after3.${name}`))];
}

/** The largest difference among tensors; each is relative to the largest magnitude of its own tensor. */
function worst(
  what: string,
  names: readonly string[],
  found: (name: string) => Tensor,
  expected: (name: string) => Tensor,
): Check {
  const checks = names.map((name) => closeTo(name, found(name), expected(name), LEAST_GRADIENT, TOLERANCE));
  const [first] = checks.toSorted((a, b) => Number(b.found) - Number(a.found) || Number(a.passed) - Number(b.passed));
  return { what, passed: checks.every(({ passed }) => passed), found: `${first?.found} (${first?.what})` };
}

/** Gradients of keys' biases are zero up to rounding. */
const LEAST_GRADIENT = 1e-2;
