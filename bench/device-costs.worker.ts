import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { decoderGraph } from "../src/adapter/decoder-graph.js";
import type { DecoderShape } from "../src/backbones/backbone.js";
import { encoderGraph } from "../src/backbones/encoders/encoder-graph.js";
import { ParameterReader, type WeightSource } from "../src/backbones/parameters.js";
import { decoderArchitecture, encoderArchitecture } from "../src/backbones/registry.js";
import { median } from "../src/cli/measure/median.js";
import { GraphBuilder } from "../src/graph/builder.js";
import { inPrecision } from "../src/graph/in-precision.js";
import type { Graph } from "../src/graph/ir.js";
import { writeOnnx } from "../src/graph/onnx-writer.js";
import { plainProducts } from "../src/graph/plain-products.js";
import { readProfile } from "../src/runtime/read-profile.js";
import { openSession, type Session } from "../src/runtime/session.js";
import { elementCount, type Shape, type Tensor } from "../src/tensor/tensor.js";
import { adapterStep } from "./adapter-step.js";
import type { DeviceJob } from "./device.js";
import { ClockedSession, runGreedy, type StepCost } from "./greedy-run.js";
import { printAndExit } from "./measure-steps.js";
import { randomTensor } from "./random-model.js";

/**
 * The process behind `npm run bench -- device`: measures one precision on one device. It prints one JSON object per
 * result, so that results remain if the process is ended or a driver ends it.
 */

const job = JSON.parse(process.argv[2] ?? "") as DeviceJob;
const { device, precision, folder } = job;

/** Repetitions of a measurement, unless they take longer than these milliseconds together. */
const ROUNDS = 5;
const LONGEST = 6000;
const NEW_TOKENS = 9;

const emit = (result: Readonly<Record<string, number | string>>) => console.log(JSON.stringify(result));

/** The numbers of all matrices, repeated, because drawing as many as a model has takes most of a minute. */
const noise = randomTensor("noise", [2 ** 16, 1]).read();

/** Random weights; optional ones are absent. */
const randomWeights: WeightSource = {
  has: () => false,
  take: (name, shape) =>
    shape.length < 2 ? randomTensor(name, shape) : { type: "float32", shape, read: () => tiled(shape) },
  takeIfPresent: () => undefined,
};

function tiled(shape: Shape): Float32Array {
  const data = new Float32Array(elementCount(shape));
  for (let at = 0; at < data.length; at += noise.length) data.set(noise.subarray(0, data.length - at), at);
  return data;
}

/** facebook/opt-125m */
const optConfig = {
  ...{ model_type: "opt", hidden_size: 768, num_hidden_layers: 12, num_attention_heads: 12, ffn_dim: 3072 },
  ...{ vocab_size: 50272, max_position_embeddings: 2048, word_embed_proj_dim: 768, bos_token_id: 2, eos_token_id: 2 },
};
/** google/vit-base-patch16-224 */
const vitConfig = {
  ...{ model_type: "vit", hidden_size: 768, num_hidden_layers: 12, num_attention_heads: 12, intermediate_size: 3072 },
  ...{ image_size: 224, patch_size: 16, num_channels: 3, hidden_act: "gelu", layer_norm_eps: 1e-12, qkv_bias: true },
};

function decoderBackbone(g: GraphBuilder) {
  return decoderArchitecture("opt", "opt-125m").build(optConfig, new ParameterReader(g, randomWeights));
}

/** Writes a graph once; other devices use the same file. */
function written(name: string, graph: () => Graph): string {
  const path = join(folder, name, "model.onnx");
  if (existsSync(path)) return path;
  mkdirSync(join(folder, name), { recursive: true });
  writeOnnx(graph(), path, name.startsWith("training") ? { packTables: false } : {});
  return path;
}

/** The median duration of what `run` returns, after one run that is not measured. */
async function medianOf(run: () => Promise<readonly number[]>): Promise<number> {
  const started = performance.now();
  await run();
  const times: number[] = [];
  for (let round = 0; round < ROUNDS && (round === 0 || performance.now() - started < LONGEST); round++) {
    times.push(...(await run()));
  }
  return median(times);
}

const timed = async (run: () => Promise<unknown>) => {
  const started = performance.now();
  await run();
  return [performance.now() - started];
};

async function open(path: string, name?: string): Promise<Session> {
  return openSession(path, { device, ...(name === undefined ? {} : { profileTo: join(folder, name) }) });
}

function emitBytes(steps: readonly StepCost[]): void {
  const last = steps.at(-1);
  if (last) emit({ toDeviceKb: last.sent / 1e3, fromDeviceKb: last.received / 1e3 });
}

async function measureDecoder(): Promise<void> {
  let shape: DecoderShape | undefined;
  const build = () => {
    const g = new GraphBuilder("decoder");
    const backbone = decoderBackbone(g);
    shape = backbone.shape;
    return { g, backbone };
  };
  const { g, backbone } = build();
  const path = written(`decoder-${precision}`, () => inPrecision(decoderGraph(g, backbone), precision));
  const profile = `profile-${device}-${precision}`;
  const session = new ClockedSession(await open(path, profile));
  const greedy = (batch: number, newTokens: number) =>
    runGreedy(session, shape ?? backbone.shape, { batch, newTokens });
  await greedy(1, 1);
  const file = readdirSync(folder).find((name) => name.startsWith(profile)) ?? profile;
  const { all, copies, onCpu } = readProfile(join(folder, file));
  const fallbacks = Object.entries(onCpu).map(([operator, count]) => `${operator} ${count}`);
  if (device !== "cpu") emit({ onCpu: fallbacks.length === 0 ? `0 of ${all}` : fallbacks.join(", "), copies });
  emit({ prefillMs: await medianOf(async () => [(await greedy(1, 1)).prefill.total]) });
  for (const batch of [1, 8, 16]) {
    const step = await medianOf(async () => {
      const { steps } = await greedy(batch, NEW_TOKENS);
      // Slow devices do not get further than the first run.
      if (batch === 8) emitBytes(steps);
      return steps.map(({ total }) => total);
    });
    emit({ [`step${batch}Ms`]: step });
  }
  await session.close();
}

async function measureImage(): Promise<void> {
  const path = written(`encoder-${precision}`, () => {
    const g = new GraphBuilder("encoder");
    const reader = new ParameterReader(g, randomWeights);
    return inPrecision(encoderGraph(g, encoderArchitecture("vit", "vit-base").build(vitConfig, reader)), precision);
  });
  const session = await open(path);
  const shape = [1, 3, 224, 224];
  const pixels: Tensor = { type: "float32", shape, data: new Float32Array(3 * 224 * 224).fill(0.5) };
  emit({ imageMs: await medianOf(() => timed(() => session.run({ pixels }, ["cls_states"]))) });
  await session.close();
}

async function measureTraining(): Promise<void> {
  const g = new GraphBuilder("training");
  const widths = { encoder: 768, decoder: 768, embedding: 768 };
  const settings = { batch: 16, tokens: 24, states: 6, start: 6, end: 12 };
  const step = adapterStep(g, decoderBackbone(g), { widths, depth: 12 }, settings);
  const path = written(`training-${device === "cpu" ? "cpu" : "plain"}`, () =>
    device === "cpu" ? step.graph : plainProducts(step.graph),
  );
  const session = await openSession(path, { device });
  emit({ trainingMs: await medianOf(() => timed(() => step.run(session))) });
  await session.close();
}

await printAndExit(async () => {
  await measureDecoder();
  await measureImage();
  if (precision === "fp32") await measureTraining();
  return {};
});
