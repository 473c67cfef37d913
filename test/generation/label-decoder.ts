import assert from "node:assert/strict";
import type { InjectionPlan } from "../../src/adapter/injection-plan.js";
import type { Scheduler } from "../../src/generation/scheduler.js";
import {
  elementAt,
  isCacheable,
  leadLength,
  pendingCount,
  type Sequence,
  type SequenceContext,
} from "../../src/generation/sequence.js";
import type { ScheduledSequence, StepOutput, StepPlan } from "../../src/generation/step.js";
import { outputFor, rowOutput, type TableModel } from "../support/table-model.js";

/** A context for tests in which only the sizes matter. */
export function contextOf(
  softTokens: number,
  slot?: Pick<InjectionPlan, "perceptionSees" | "cacheable">,
): SequenceContext {
  const softPrompt = { type: "float32", shape: [softTokens, 1], data: new Float32Array(softTokens) } as const;
  const perception = slot && { plan: { visible: [], stateAt: [], ...slot }, states: new Float32Array() };
  return { ...(softTokens > 0 ? { softPrompt } : {}), ...(perception ? { perception } : {}) };
}

/** A context with visual tokens; those with the same key share them. */
export function visualContext(tokens: number, textBefore: number, key: string, softTokens = 0): SequenceContext {
  const visual = {
    plan: { startLayer: 0, visible: [] },
    tokens: { type: "float32", shape: [tokens, 1], data: new Float32Array(tokens) },
    textBefore,
    key,
  } as const;
  return { ...contextOf(softTokens), visual };
}

/**
 * A decoder whose cache holds labels instead of numbers, and whose outputs come from a table. Each step checks that the
 * cache holds each sequence's own elements.
 */
export class LabelDecoder {
  readonly #model: TableModel;
  readonly #names = new Map<SequenceContext | string, number>();
  readonly #kept = new Map<string, readonly string[]>();
  /** Number of elements that were computed. */
  computed = 0;
  #cache: readonly (readonly string[])[] = [];

  constructor(model: TableModel) {
    this.#model = model;
  }

  /** See `PrefixCache.count`. */
  count(key: string): number | undefined {
    return this.#kept.get(key)?.length;
  }

  step({ sources, cachedLengths, first, scheduled, restored = [], kept = [] }: StepPlan): StepOutput[] {
    const moved = sources.map((source, sequence) =>
      source === undefined ? [] : (this.#cache[source] ?? []).slice(0, cachedLengths[sequence]),
    );
    for (const { index, key } of restored) moved[index] = [...(this.#kept.get(key) ?? [])];
    this.#cache = moved.map((held, at) => {
      const entry = scheduled[at - first];
      if (!entry) return held;
      const own = this.#elements(entry.sequence);
      assert.deepEqual(held, own.slice(0, entry.sequence.cached), `sequence ${at} holds its own elements`);
      const count = entry.count ?? pendingCount(entry.sequence);
      this.computed += entry.active ? count : 0;
      return entry.active && isCacheable(entry.sequence.context) ? own.slice(0, entry.sequence.cached + count) : held;
    });
    for (const { index, key, count } of kept) this.#kept.set(key, (this.#cache[index] ?? []).slice(0, count));
    return scheduled.flatMap((entry) => (entry.active ? [this.#answer(entry)] : []));
  }

  /** Sequences with the same key have the same elements before their texts differ. */
  #elements({ context, text }: Sequence): string[] {
    const identity = context.visual?.key ?? context;
    const name = this.#names.get(identity) ?? this.#names.size;
    this.#names.set(identity, name);
    return Array.from({ length: leadLength(context) + text.length }, (_, at) => {
      const element = elementAt(context, at);
      if (element.kind === "text") return `token ${text[element.index]}`;
      return `context ${name}, ${element.kind} ${"index" in element ? element.index : 0}`;
    });
  }

  #answer({ sequence, needs }: ScheduledSequence): StepOutput {
    assert.ok(pendingCount(sequence) > 0, "an active sequence has something to compute");
    if (needs.kind !== "targets") {
      return { next: outputFor(this.#model.logitsAfter(sequence.text), needs), targetLogProbs: [] };
    }
    const known = sequence.text.length - needs.tokens.length + 1;
    const targetLogProbs = needs.tokens.map((token, at) => this.logProb(sequence.text.slice(0, known + at), token));
    return { next: { tokens: [], logProbs: [] }, targetLogProbs };
  }

  /** Log-probability of one token after the tokens `before`. */
  logProb(before: readonly number[], token: number): number {
    const { tokens, logProbs } = rowOutput(this.#model.logitsAfter(before));
    return logProbs[Array.from(tokens).indexOf(token)] ?? Number.NaN;
  }
}

/** Runs steps until nothing is left to do, at most `limit`; returns their number. */
export function drain(scheduler: Scheduler, decoder: LabelDecoder, limit = 1000): number {
  for (let steps = 0; steps < limit; steps++) {
    const plan = scheduler.plan();
    if (!plan) return steps;
    scheduler.commit(decoder.step(plan));
  }
  return limit;
}
