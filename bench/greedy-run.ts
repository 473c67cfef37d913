import type { DecoderShape } from "../src/backbones/backbone.js";
import { Decoder } from "../src/generation/decoder.js";
import { type GenerationOptions, parseGenerationOptions } from "../src/generation/options.js";
import { DecodingRequest } from "../src/generation/request.js";
import { defaultLimits, Scheduler } from "../src/generation/scheduler.js";
import { createStrategy } from "../src/generation/strategies/create-strategy.js";
import type { Feeds, Results, Session } from "../src/runtime/session.js";

/** Number of tokens in a prompt, unless a measurement varies it. */
export const PROMPT_TOKENS = 24;

/** Duration of a step in milliseconds. */
export interface StepTime {
  readonly total: number;
  /** The part that was not spent inside ONNX Runtime. */
  readonly outside: number;
}

export interface GreedyRun {
  /** The steps that compute the prompts and the first new tokens; several for long prompts. */
  readonly prefill: StepTime;
  /** The steps after it, with one new token per sequence. */
  readonly steps: readonly StepTime[];
  /** New tokens of the first sequence. */
  readonly tokens: readonly number[];
}

export interface RunOptions {
  readonly newTokens: number;
  /** Default: 1. */
  readonly batch?: number;
  /** Default: `PROMPT_TOKENS`. */
  readonly promptTokens?: number;
  /** More than 1 for beam search. Default: 1, greedy. */
  readonly beams?: number;
  /** Further options of a sequence. Default: none. */
  readonly optionsOf?: (row: number) => GenerationOptions;
}

/** A session that measures how long its graphs run. */
export class ClockedSession implements Session {
  readonly #session: Session;
  milliseconds = 0;

  constructor(session: Session) {
    this.#session = session;
  }

  get inputNames(): readonly string[] {
    return this.#session.inputNames;
  }

  get outputNames(): readonly string[] {
    return this.#session.outputNames;
  }

  async run(feeds: Feeds, fetches: readonly string[]): Promise<Results> {
    const started = performance.now();
    const results = await this.#session.run(feeds, fetches);
    this.milliseconds += performance.now() - started;
    return results;
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}

/** A prompt whose ids are in every vocabulary used here; sequences have different prompts. */
export function promptOf(row: number, tokens = PROMPT_TOKENS): number[] {
  return Array.from({ length: tokens }, (_, place) => 3 + ((place * 7 + row) % 250));
}

/** Generates texts in this thread, without an adapter: plan, compute, commit. All sequences of a batch are one step. */
export async function runGreedy(
  session: ClockedSession,
  shape: DecoderShape,
  { newTokens, batch = 1, promptTokens = PROMPT_TOKENS, beams = 1, optionsOf = () => ({}) }: RunOptions,
): Promise<GreedyRun> {
  const decoder = new Decoder(session, shape);
  const scheduler = new Scheduler({
    maxSequences: Math.max(defaultLimits.maxSequences, batch * beams),
    maxBatchedTokens: Math.max(defaultLimits.maxBatchedTokens, batch * promptTokens),
  });
  const common = { maxNewTokens: newTokens, ...(beams > 1 ? { beams } : {}) };
  const strategies = Array.from({ length: batch }, (_, row) =>
    createStrategy(parseGenerationOptions({ ...common, ...optionsOf(row) }), {
      eosTokenIds: new Set(),
      decode: () => "",
      prompt: promptOf(row, promptTokens),
    }),
  );
  strategies.forEach((strategy, row) => {
    scheduler.add(new DecodingRequest({}, promptOf(row, promptTokens), strategy));
  });
  const times: StepTime[] = [];
  for (;;) {
    const [started, startedInside] = [performance.now(), session.milliseconds];
    const step = scheduler.plan();
    if (!step) break;
    scheduler.commit(await decoder.step(step));
    const total = performance.now() - started;
    times.push({ total, outside: total - (session.milliseconds - startedInside) });
  }
  const promptSteps = times.length - (newTokens - 1);
  const prefill = { total: 0, outside: 0 };
  for (const { total, outside } of times.slice(0, promptSteps)) {
    prefill.total += total;
    prefill.outside += outside;
  }
  return { prefill, steps: times.slice(promptSteps), tokens: strategies[0]?.hypotheses()[0]?.tokens ?? [] };
}
