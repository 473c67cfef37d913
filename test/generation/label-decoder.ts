import assert from "node:assert/strict";
import type { InjectionPlan } from "../../src/adapter/injection-plan.js";
import {
  isCacheable,
  leadLength,
  pendingCount,
  type Row,
  type RowContext,
} from "../../src/generation/row.js";
import type { Scheduler } from "../../src/generation/scheduler.js";
import type { StepOutput, StepPlan, StepRow } from "../../src/generation/step.js";
import { rowOutput, type TableModel } from "./table-model.js";

/** A context of which only the sizes matter. */
export function contextOf(
  softTokens: number,
  slot?: Pick<InjectionPlan, "perceptionSees" | "cacheable">,
): RowContext {
  const softPrompt = { type: "float32", shape: [softTokens, 1], data: new Float32Array(softTokens) } as const;
  const perception = slot && { plan: { visible: [], stateAt: [], ...slot }, states: new Float32Array() };
  return { ...(softTokens > 0 ? { softPrompt } : {}), ...(perception ? { perception } : {}) };
}

/**
 * A decoder whose cache holds labels in place of numbers, and whose answers come from a table. Each step checks that
 * what the cache holds of a row are the row's own elements.
 */
export class LabelDecoder {
  readonly #model: TableModel;
  readonly #names = new Map<RowContext, number>();
  #cache: readonly (readonly string[])[] = [];

  constructor(model: TableModel) {
    this.#model = model;
  }

  step({ sources, times, first, rows }: StepPlan): StepOutput[] {
    const moved = sources.map((source, row) =>
      source === undefined ? [] : (this.#cache[source] ?? []).slice(0, times[row]),
    );
    this.#cache = moved.map((held, at) => {
      const stepRow = rows[at - first];
      if (!stepRow) return held;
      const own = this.#elements(stepRow.row);
      assert.deepEqual(held, own.slice(0, stepRow.row.cached), `row ${at} holds its own elements`);
      return stepRow.active && isCacheable(stepRow.row.context) ? own : held;
    });
    return rows.flatMap((stepRow) => (stepRow.active ? [this.#answer(stepRow)] : []));
  }

  #elements({ context, text }: Row): string[] {
    const name = this.#names.get(context) ?? this.#names.size;
    this.#names.set(context, name);
    const lead = Array.from({ length: leadLength(context) }, (_, index) => `context ${name}, ${index}`);
    return [...lead, ...text.map((token) => `token ${token}`)];
  }

  #answer({ row, asks }: StepRow): StepOutput {
    assert.ok(pendingCount(row) > 0, "an active row has something to compute");
    if (asks.kind === "next") {
      return { next: rowOutput(this.#model.logitsAfter(row.text), asks.count), targetLogProbs: [] };
    }
    const known = row.text.length - asks.tokens.length + 1;
    const targetLogProbs = asks.tokens.map((token, at) => this.logProb(row.text.slice(0, known + at), token));
    return { next: { tokens: [], logProbs: [] }, targetLogProbs };
  }

  /** Of one token after some others. */
  logProb(before: readonly number[], token: number): number {
    const { tokens, logProbs } = rowOutput(this.#model.logitsAfter(before));
    return logProbs[Array.from(tokens).indexOf(token)] ?? Number.NaN;
  }
}

/** Steps until nothing is left to do, or `limit`; returns how many there were. */
export function drain(scheduler: Scheduler, decoder: LabelDecoder, limit = 1000): number {
  for (let steps = 0; steps < limit; steps++) {
    const plan = scheduler.plan();
    if (!plan) return steps;
    scheduler.commit(decoder.step(plan));
  }
  return limit;
}
