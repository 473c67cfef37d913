import { EpalmError } from "../errors.js";
import { isCacheable, leadLength, type Row, type RowContext, slotIsCached } from "./row.js";
import type { Ask, StepOutput } from "./step.js";
import type { Strategy } from "./strategy.js";

/** A row that a scheduler runs: what it is, what it asks for, and where the cache holds it. */
export interface RunningRow extends Row {
  /** Undefined while a row waits for others of its job. */
  readonly asks: Ask | undefined;
  /** Index in the cache since the last step; undefined before the first. */
  readonly slot: number | undefined;
}

/** One request, as the scheduler sees it: rows that want steps until there are none. */
export interface Job {
  /** The most rows that it will ever have at once. */
  readonly maxRows: number;
  readonly rows: readonly RunningRow[];
  /** Takes one output per row that asked, in order; `rows` are then those of the next step, none when done. */
  advance(computed: readonly RunningRow[], outputs: readonly StepOutput[]): void;
}

/** The row as it is after a step computed all its elements. */
export function afterStep(row: RunningRow, slot: number): RunningRow {
  const cached = isCacheable(row.context) ? leadLength(row.context) + row.text.length : 0;
  return { ...row, slot, cached };
}

/** A row that goes on from another. */
function continued(row: RunningRow, tokens: readonly number[], asks: Ask | undefined): RunningRow {
  return { ...row, text: [...row.text, ...tokens], asks };
}

function firstRow(context: RowContext, prompt: readonly number[], asks: Ask): RunningRow {
  return { context, text: prompt, cached: 0, slot: undefined, asks };
}

function rowOf(rows: readonly RunningRow[], index: number): RunningRow {
  const row = rows[index];
  if (!row) throw new EpalmError("internal", `row ${index} does not go on: there are ${rows.length}`);
  return row;
}

/** Text that a strategy chooses, token by token. */
export class GenerationJob implements Job {
  readonly maxRows: number;
  readonly strategy: Strategy;
  rows: readonly RunningRow[];
  readonly #asks: Ask;

  constructor(context: RowContext, prompt: readonly number[], strategy: Strategy) {
    this.strategy = strategy;
    this.maxRows = strategy.maxRows;
    this.#asks = { kind: "next", count: strategy.candidates };
    this.rows = [firstRow(context, prompt, this.#asks)];
  }

  advance(computed: readonly RunningRow[], outputs: readonly StepOutput[]): void {
    const continuations = this.strategy.advance(outputs.map(({ next }) => next));
    this.rows = continuations.map(({ parent, token }) =>
      continued(rowOf(computed, parent), [token], this.#asks),
    );
  }
}

/** How many answers are scored side by side: rows beside the prompt's. */
const ANSWERS_AT_ONCE = 16;

/**
 * Log-probabilities of given answers after a prompt. The prompt is computed once; its row stays while answers
 * fork from it, some at a time. An answer's tokens are computed together, unless the perceptual slot sees
 * everything: through it each would see those that follow, which the model does not when it writes.
 */
export class ScoringJob implements Job {
  readonly maxRows: number;
  rows: readonly RunningRow[];
  /** Per answer, the log-probability of each of its tokens; complete when the job is done. */
  readonly logProbs: number[][];
  readonly #answers: readonly (readonly number[])[];
  /** Of one answer. */
  readonly #tokensPerStep: number;
  #prompt: RunningRow;
  /** The answers that the rows behind the prompt's stand for. */
  #running: readonly number[] = [];
  readonly #waiting: number[];

  constructor(context: RowContext, prompt: readonly number[], answers: readonly (readonly number[])[]) {
    this.#answers = answers;
    this.#tokensPerStep = context.perception && !slotIsCached(context) ? 1 : Number.POSITIVE_INFINITY;
    this.#prompt = firstRow(context, prompt, { kind: "next", count: "all" });
    this.rows = [this.#prompt];
    this.logProbs = answers.map(() => []);
    this.#waiting = answers.flatMap((answer, index) => (answer.length > 1 ? [index] : []));
    this.maxRows = 1 + Math.min(this.#waiting.length, ANSWERS_AT_ONCE);
  }

  advance(computed: readonly RunningRow[], outputs: readonly StepOutput[]): void {
    if (this.#prompt.asks) this.#readFirstTokens(outputs[0]);
    else this.#readTargets(outputs);
    this.#prompt = { ...rowOf(computed, 0), asks: undefined };
    const begun = this.#running.flatMap((index, at) =>
      this.#isScored(index) ? [] : [{ index, row: rowOf(computed, at + 1) }],
    );
    const next = this.#waiting.splice(0, ANSWERS_AT_ONCE - begun.length);
    const going = [...begun, ...next.map((index) => ({ index, row: this.#prompt }))];
    this.#running = going.map(({ index }) => index);
    const rows = going.map(({ index, row }) => this.#goOn(index, row));
    this.rows = rows.length > 0 ? [this.#prompt, ...rows] : [];
  }

  #isScored(index: number): boolean {
    return this.logProbs[index]?.length === this.#answers[index]?.length;
  }

  /** The row with the last token that has a score, and those to be scored but the last. */
  #goOn(index: number, row: RunningRow): RunningRow {
    const answer = this.#answers[index] ?? [];
    const known = this.logProbs[index]?.length ?? 0;
    const end = Math.min(known + this.#tokensPerStep, answer.length);
    const asks: Ask = { kind: "targets", tokens: answer.slice(known, end) };
    return continued(row, answer.slice(known - 1, end - 1), asks);
  }

  #readTargets(outputs: readonly StepOutput[]): void {
    outputs.forEach(({ targetLogProbs }, at) => {
      this.logProbs[this.#running[at] ?? 0]?.push(...targetLogProbs);
    });
  }

  #readFirstTokens(output: StepOutput | undefined): void {
    const tokens = output?.next.tokens ?? [];
    const found = new Map<number, number>();
    for (let rank = 0; rank < tokens.length; rank++)
      found.set(tokens[rank] as number, output?.next.logProbs[rank] as number);
    this.#answers.forEach((answer, index) => {
      this.logProbs[index]?.push(found.get(answer[0] ?? -1) ?? Number.NEGATIVE_INFINITY);
    });
  }
}
