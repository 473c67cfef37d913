import type { DecoderShape } from "../backbones/backbone.js";
import type { Session } from "../runtime/session.js";
import type { Tensor } from "../tensor/tensor.js";
import { type KeptColumns, KeyValueCache } from "./key-value-cache.js";
import { isCacheable, leadLength } from "./row.js";
import type { StepOutput, StepPlan, StepRow } from "./step.js";
import { columnsOf, stepInputs } from "./step-inputs.js";
import type { RowOutput } from "./strategy.js";

/** The decoder graph with its cache: runs the steps that a scheduler plans. */
export class Decoder {
  readonly shape: DecoderShape;
  readonly #session: Session;
  readonly #cache: KeyValueCache;

  constructor(session: Session, shape: DecoderShape) {
    this.shape = shape;
    this.#session = session;
    this.#cache = new KeyValueCache(shape);
  }

  get cacheBytes(): number {
    return this.#cache.bytes;
  }

  /** Computes the rows of a plan; one output per active row, in order. What is computed is cached. */
  async step(plan: StepPlan): Promise<StepOutput[]> {
    const { rows, first } = plan;
    this.#cache.reorder(plan.sources, plan.times);
    this.#cache.reserve(plan.sources.length, Math.max(...plan.times, ...rows.map(endTime)));
    const empty = rows.every(({ row }) => row.cached === 0);
    const top = Math.max(1, ...rows.map((row) => this.#wanted(row)));
    const inputs = stepInputs(rows, this.shape, empty ? 0 : this.#cache.capacity, top);
    const feeds = { ...inputs.feeds, ...this.#cache.feeds(first, rows.length, empty) };
    const results = await this.#session.run(feeds, fetches);
    this.#cache.append(
      results.new_keys_values as Tensor,
      rows.flatMap((row, index) => keptColumns(row, index, first)),
    );
    return this.#outputs(rows, inputs.scoredCounts, results, top);
  }

  /** How many best tokens a row wants. */
  #wanted({ active, asks }: StepRow): number {
    if (!active || asks.kind === "targets") return 0;
    return asks.count === "all" ? this.shape.vocabulary : Math.min(asks.count, this.shape.vocabulary);
  }

  #outputs(
    rows: readonly StepRow[],
    scoredCounts: readonly number[],
    results: Readonly<Record<string, Tensor>>,
    top: number,
  ): StepOutput[] {
    const numbers = (name: string) => results[name]?.data as Float32Array;
    const [logits, normalizers, targets] = [
      numbers("top_logits"),
      numbers("log_normalizer"),
      numbers("target_logits"),
    ];
    const ids = results.top_ids?.data as BigInt64Array;
    let at = 0;
    return rows.flatMap((row, index) => {
      const start = at;
      at += scoredCounts[index] ?? 0;
      if (!row.active) return [];
      const normalized = (logit: number, place: number) => logit - (normalizers[place] as number);
      const ofTargets = row.asks.kind === "targets" ? Array.from(targets.subarray(start, at)) : [];
      return {
        targetLogProbs: ofTargets.map((logit, i) => normalized(logit, start + i)),
        next: bestTokens(logits, ids, normalizers[start] as number, this.#wanted(row), start * top),
      };
    });
  }

  /** Forgets all rows and gives their memory back. */
  clear(): void {
    this.#cache.clear();
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}

const fetches = ["new_keys_values", "top_logits", "top_ids", "log_normalizer", "target_logits"];

/** Elements of a row once the step is done. */
function endTime({ row, active }: StepRow): number {
  return active && isCacheable(row.context) ? leadLength(row.context) + row.text.length : row.cached;
}

function keptColumns(stepRow: StepRow, index: number, first: number): KeptColumns[] {
  const { row, active } = stepRow;
  if (!active || !isCacheable(row.context)) return [];
  const { first: from, end: to } = columnsOf(stepRow);
  return [{ row: first + index, stepRow: index, from, to, at: row.cached }];
}

function bestTokens(
  logits: Float32Array,
  ids: BigInt64Array,
  normalizer: number,
  count: number,
  start: number,
): RowOutput {
  const tokens = new Int32Array(count);
  const logProbs = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    tokens[i] = Number(ids[start + i]);
    logProbs[i] = (logits[start + i] as number) - normalizer;
  }
  return { tokens, logProbs };
}
