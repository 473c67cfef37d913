import type { DecoderShape } from "../src/backbones/backbone.js";
import { Decoder } from "../src/generation/decoder.js";
import { type GenerationOptions, parseGenerationOptions } from "../src/generation/options.js";
import { DecodingRequest } from "../src/generation/request.js";
import { defaultLimits, Scheduler } from "../src/generation/scheduler.js";
import { createStrategy } from "../src/generation/strategies/create-strategy.js";
import type { Feeds, HeldTensors, Results, Session } from "../src/runtime/session.js";

/** Number of tokens in a prompt, unless a measurement varies it. */
export const PROMPT_TOKENS = 24;

/** What a step costs. */
export interface StepCost {
  /** Milliseconds. */
  readonly total: number;
  /** The part of them that was not spent inside ONNX Runtime. */
  readonly outside: number;
  /** Bytes of the inputs, except those that are on the device already, and of the outputs that are read. */
  readonly sent: number;
  readonly received: number;
}

export interface GreedyRun {
  /** The steps that compute the prompts and the first new tokens; several for long prompts. */
  readonly prefill: StepCost;
  /** The steps after it, with one new token per sequence. */
  readonly steps: readonly StepCost[];
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

/** A session that measures how long its graphs run and how much they exchange. */
export class ClockedSession implements Session {
  readonly #session: Session;
  milliseconds = 0;
  sent = 0;
  received = 0;

  constructor(session: Session) {
    this.#session = session;
  }

  get inputNames(): readonly string[] {
    return this.#session.inputNames;
  }

  get outputNames(): readonly string[] {
    return this.#session.outputNames;
  }

  get openHolding(): Session["openHolding"] {
    const open = this.#session.openHolding;
    if (!open) return undefined;
    return async (graph) => {
      const session = await open(graph);
      return { hold: (feeds, held) => this.#clocked(feeds, () => session.hold(feeds, held)) };
    };
  }

  async run(feeds: Feeds, fetches: readonly string[], held?: HeldTensors): Promise<Results> {
    const results = await this.#clocked(feeds, () => this.#session.run(feeds, fetches, held));
    this.received += bytesOf(results);
    return results;
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  async #clocked<T>(feeds: Feeds, run: () => Promise<T>): Promise<T> {
    this.sent += bytesOf(feeds);
    const started = performance.now();
    const results = await run();
    this.milliseconds += performance.now() - started;
    return results;
  }
}

function bytesOf(tensors: Feeds): number {
  return Object.values(tensors).reduce((sum, { data }) => sum + data.byteLength, 0);
}

/** One decoder per session, because a decoder opens graphs of its own on some devices. */
const decoders = new WeakMap<Session, Decoder>();

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
  const decoder = decoders.get(session) ?? new Decoder(session, shape);
  decoders.set(session, decoder);
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
  const costs: StepCost[] = [];
  for (;;) {
    const before = { started: performance.now(), ...measured(session) };
    const step = scheduler.plan();
    if (!step) break;
    scheduler.commit(await decoder.step(step));
    const total = performance.now() - before.started;
    const { milliseconds, sent, received } = measured(session);
    costs.push({
      total,
      outside: total - (milliseconds - before.milliseconds),
      sent: sent - before.sent,
      received: received - before.received,
    });
  }
  decoder.clear();
  const promptSteps = costs.length - (newTokens - 1);
  const prefill = costs.slice(0, promptSteps).reduce(sumOf);
  return { prefill, steps: costs.slice(promptSteps), tokens: strategies[0]?.hypotheses()[0]?.tokens ?? [] };
}

const measured = ({ milliseconds, sent, received }: ClockedSession) => ({ milliseconds, sent, received });

function sumOf(a: StepCost, b: StepCost): StepCost {
  return {
    total: a.total + b.total,
    outside: a.outside + b.outside,
    sent: a.sent + b.sent,
    received: a.received + b.received,
  };
}
