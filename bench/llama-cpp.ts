import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { median } from "../src/cli/measure/median.js";
import { EpalmError, messageOf } from "../src/core/errors.js";
import { type OpenDecoder, openDecoder } from "./decoding.js";
import { PROMPT_TOKENS, promptOf, runGreedy } from "./greedy-run.js";
import { writeLlamaGguf } from "./llama-gguf.js";
import type { Context, Measurement } from "./measurement.js";
import { modelFolder, sourceFolder } from "./models.js";

const ROUNDS = 9;
const NEW_TOKENS = 32;
const PACKAGE = "node-llama-cpp";
/** Folder in which `npm install node-llama-cpp` was run. Default: this project, which does not include the package. */
const FOLDER_VARIABLE = "EPALM_BENCH_LLAMA_CPP";

/** The precisions that are compared. The first pair computes the same function, so its tokens must be equal. */
const pairs = [
  { theirs: "F32", ours: "fp32" },
  { theirs: "Q8_0", ours: "int8" },
] as const;
type Pair = (typeof pairs)[number];

export const llamaCpp: Measurement = {
  summary: `prefill and decoding of the SmolLM2-135M shape compared with llama.cpp, if ${PACKAGE} is installed manually`,
  async run(context) {
    const entry = packageEntry();
    if (entry === undefined) {
      context.say(
        `llama-cpp: skipped: ${PACKAGE} is not installed; ${FOLDER_VARIABLE} can name a folder that contains it`,
      );
      return [];
    }
    const llama = await startLlama(entry);
    try {
      const rows = [];
      for (const pair of pairs) rows.push(await comparePair(context, llama, pair));
      return [
        {
          title: `llama-cpp: SmolLM2-135M, same weights, batch 1, ${PROMPT_TOKENS} prompt tokens, ${NEW_TOKENS} new ones`,
          columns,
          rows,
          notes: [`x: epalm's speed divided by llama.cpp's; medians over ${ROUNDS} rounds that alternate both`],
        },
      ];
    } finally {
      await llama.dispose();
    }
  },
};

const columns = [
  { key: "epalm", title: "epalm" },
  { key: "llamaCpp", title: "llama.cpp" },
  { key: "prefillMs", title: "prefill ms", digits: 1 },
  { key: "theirPrefillMs", title: "theirs", digits: 1 },
  { key: "prefillRatio", title: "x", digits: 2 },
  { key: "tokensPerSecond", title: "tokens/s", digits: 1 },
  { key: "theirTokensPerSecond", title: "theirs", digits: 1 },
  { key: "decodingRatio", title: "x", digits: 2 },
  { key: "sameTokens", title: `same of ${NEW_TOKENS}` },
] as const;

/** The part of the node-llama-cpp API that is used here. */
interface Llama {
  loadModel(options: { modelPath: string }): Promise<LlamaModel>;
  dispose(): Promise<void>;
}
interface LlamaModel {
  createContext(options: { contextSize: number; threads: number }): Promise<LlamaContext>;
  dispose(): Promise<void>;
}
interface LlamaContext {
  getSequence(): LlamaSequence;
  dispose(): Promise<void>;
}
interface LlamaSequence {
  /** Yields new tokens one by one for as long as they are requested. */
  evaluate(
    tokens: readonly number[],
    options: { temperature: number; yieldEogToken: boolean },
  ): AsyncGenerator<number, void>;
  clearHistory(): Promise<void>;
}

/** URL of the package's module; undefined if the package is not installed. */
function packageEntry(): string | undefined {
  const folder = process.env[FOLDER_VARIABLE];
  const base = folder === undefined ? import.meta.url : pathToFileURL(join(resolve(folder), "package.json"));
  const find = createRequire(base);
  try {
    return pathToFileURL(find.resolve(PACKAGE)).href;
  } catch (error) {
    if (folder === undefined) return undefined;
    throw new EpalmError("not_found", `${FOLDER_VARIABLE}=${folder}: ${messageOf(error)}`, { cause: error });
  }
}

async function startLlama(entry: string): Promise<Llama> {
  const module = (await import(entry)) as { getLlama(options: object): Promise<Llama> };
  // Uses only what npm installed; compiles and downloads nothing.
  return module.getLlama({ gpu: false, build: "never", logLevel: "error" });
}

/** Durations in milliseconds of one generated text, and its tokens. */
interface Run {
  readonly prefill: number;
  readonly steps: readonly number[];
  readonly tokens: readonly number[];
}

async function comparePair(context: Context, llama: Llama, pair: Pair) {
  const ours = await openDecoder(await modelFolder(context, "smol", pair.ours));
  const model = await llama.loadModel({ modelPath: ggufFile(context, pair.theirs) });
  try {
    const { sequence } = await openSequence(model);
    context.say(`measuring: llama-cpp, ${pair.theirs} and ${pair.ours}, ${ROUNDS} rounds`);
    const runs: { ours: Run; theirs: Run }[] = [];
    // The first round warms up and does not count.
    for (let round = 0; round <= ROUNDS; round++) {
      runs.push({ ours: await runOurs(ours), theirs: await runTheirs(sequence) });
    }
    return sequenceAt(pair, runs.slice(1));
  } finally {
    await model.dispose();
    await ours.session.close();
  }
}

async function openSequence(model: LlamaModel) {
  const options = { contextSize: PROMPT_TOKENS + NEW_TOKENS, threads: availableParallelism() };
  return { sequence: (await model.createContext(options)).getSequence() };
}

function ggufFile(context: Context, type: Pair["theirs"]): string {
  const path = join(context.folder, `smol-${type}.gguf`);
  if (existsSync(path)) return path;
  const source = sourceFolder(context, "smol");
  context.say(`writing: ${path}`);
  writeLlamaGguf(source, path, type);
  return path;
}

async function runOurs({ session, shape }: OpenDecoder): Promise<Run> {
  const { prefill, steps, tokens } = await runGreedy(session, shape, 1, NEW_TOKENS);
  return { prefill: prefill.total, steps: steps.map(({ total }) => total), tokens };
}

async function runTheirs(sequence: LlamaSequence): Promise<Run> {
  await sequence.clearHistory();
  const [times, tokens]: [number[], number[]] = [[], []];
  let started = performance.now();
  for await (const token of sequence.evaluate(promptOf(0), { temperature: 0, yieldEogToken: true })) {
    times.push(performance.now() - started);
    tokens.push(token);
    if (tokens.length === NEW_TOKENS) break;
    started = performance.now();
  }
  const [prefill = Number.NaN, ...steps] = times;
  return { prefill, steps, tokens };
}

function sequenceAt(pair: Pair, runs: readonly { readonly ours: Run; readonly theirs: Run }[]) {
  const prefill = (side: "ours" | "theirs") => median(runs.map((run) => run[side].prefill));
  const step = (side: "ours" | "theirs") => median(runs.flatMap((run) => run[side].steps));
  const [first] = runs;
  return {
    epalm: pair.ours,
    llamaCpp: pair.theirs,
    prefillMs: prefill("ours"),
    theirPrefillMs: prefill("theirs"),
    prefillRatio: prefill("theirs") / prefill("ours"),
    tokensPerSecond: 1000 / step("ours"),
    theirTokensPerSecond: 1000 / step("theirs"),
    decodingRatio: step("theirs") / step("ours"),
    sameTokens: first?.ours.tokens.filter((token, at) => token === first.theirs.tokens[at]).length ?? 0,
  };
}
