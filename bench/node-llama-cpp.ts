import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { at } from "../src/core/at.js";
import { EpalmError, messageOf } from "../src/core/errors.js";
import { promptOf } from "./greedy-run.js";

/** llama.cpp through a package that is installed manually. */

export const LLAMA_PACKAGE = "node-llama-cpp";
/** Folder in which the package was installed. Default: this project, which does not include the package. */
export const LLAMA_FOLDER_VARIABLE = "EPALM_BENCH_LLAMA_CPP";

/** The part of the package's API that is used here. */
export interface Llama {
  loadModel(options: { modelPath: string }): Promise<LlamaModel>;
  dispose(): Promise<void>;
}
export interface LlamaModel {
  createContext(options: { contextSize: number; sequences: number; threads: number }): Promise<LlamaContext>;
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

/** Durations in milliseconds of generated texts, and the tokens of the first one. */
export interface Run {
  readonly prefill: number;
  readonly steps: readonly number[];
  readonly tokens: readonly number[];
}

/** Starts llama.cpp; undefined if the package is not installed. */
export async function startLlama(): Promise<Llama | undefined> {
  const entry = packageEntry();
  if (entry === undefined) return undefined;
  const module = (await import(entry)) as { getLlama(options: object): Promise<Llama> };
  // Uses only what npm installed; compiles and downloads nothing.
  return module.getLlama({ gpu: false, build: "never", logLevel: "error" });
}

/** URL of the package's module; undefined if the package is not installed. */
function packageEntry(): string | undefined {
  const folder = process.env[LLAMA_FOLDER_VARIABLE];
  const base = folder === undefined ? import.meta.url : pathToFileURL(join(resolve(folder), "package.json"));
  const find = createRequire(base);
  try {
    return pathToFileURL(find.resolve(LLAMA_PACKAGE)).href;
  } catch (error) {
    if (folder === undefined) return undefined;
    throw new EpalmError("not_found", `${LLAMA_FOLDER_VARIABLE}=${folder}: ${messageOf(error)}`, { cause: error });
  }
}

/** Sequences of llama.cpp that generate together, token by token. */
export class LlamaBatch {
  readonly #context: LlamaContext;
  readonly #sequences: readonly LlamaSequence[];

  private constructor(context: LlamaContext, sequences: readonly LlamaSequence[]) {
    this.#context = context;
    this.#sequences = sequences;
  }

  /** @param contextSize tokens of each sequence */
  static async open(model: LlamaModel, sequences: number, contextSize: number): Promise<LlamaBatch> {
    const context = await model.createContext({ contextSize, sequences, threads: availableParallelism() });
    return new LlamaBatch(
      context,
      Array.from({ length: sequences }, () => context.getSequence()),
    );
  }

  /** The greedy texts of the prompts that `runGreedy` continues. */
  async run(promptTokens: number, newTokens: number): Promise<Run> {
    for (const sequence of this.#sequences) await sequence.clearHistory();
    const texts = this.#sequences.map((sequence, row) =>
      sequence.evaluate(promptOf(row, promptTokens), { temperature: 0, yieldEogToken: true }),
    );
    const [times, tokens]: [number[], number[]] = [[], []];
    for (let step = 0; step < newTokens; step++) {
      const started = performance.now();
      // llama.cpp computes what is requested at the same time as one batch.
      const next = await Promise.all(texts.map((text) => text.next()));
      times.push(performance.now() - started);
      const { value } = at(next, 0);
      if (typeof value === "number") tokens.push(value);
    }
    await Promise.all(texts.map((text) => text.return()));
    const [prefill = Number.NaN, ...steps] = times;
    return { prefill, steps, tokens };
  }

  close(): Promise<void> {
    return this.#context.dispose();
  }
}
