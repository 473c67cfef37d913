import { EpalmError } from "../errors.js";
import { afterStep, type Job, type RunningRow } from "./job.js";
import { pendingCount } from "./row.js";
import type { StepOutput, StepPlan } from "./step.js";

export interface SchedulerLimits {
  /** The most rows that run at once, over all jobs; more wait. */
  readonly rows: number;
  /** The most tokens (rows times columns) of a step, unless a single row has more. */
  readonly stepTokens: number;
}

export const defaultLimits: SchedulerLimits = { rows: 64, stepTokens: 4096 };

/** A running row, and what a step said about it, kept until all rows of its job have been computed. */
interface Entry {
  readonly job: Job;
  readonly row: RunningRow;
  readonly output?: StepOutput;
}

/**
 * Decides which rows compute next. There are no phases: each row catches up on its tokens that the cache does
 * not hold. Jobs join and leave between any two steps. Synchronous, without devices or clocks.
 */
export class Scheduler {
  readonly #limits: SchedulerLimits;
  readonly #waiting: Job[] = [];
  #running: Job[] = [];
  /** All running rows, job by job. */
  #entries: Entry[] = [];
  /** Which entries the planned step computes; undefined between a commit and the next plan. */
  #active: readonly boolean[] | undefined;
  #longWasLast = false;

  constructor(limits: SchedulerLimits = defaultLimits) {
    this.#limits = limits;
  }

  /** Jobs that wait for room. */
  get waiting(): number {
    return this.#waiting.length;
  }

  get idle(): boolean {
    return this.#waiting.length === 0 && this.#running.length === 0;
  }

  /** Queues a job; throws `invalid_option` if it needs more rows than there are. */
  add(job: Job): void {
    if (job.maxRows > this.#limits.rows) {
      throw new EpalmError(
        "invalid_option",
        `needs ${job.maxRows} rows at once, the limit is ${this.#limits.rows}`,
      );
    }
    this.#waiting.push(job);
  }

  /** Forgets a job, whatever its state; not between a plan and its commit. */
  remove(job: Job): void {
    const at = this.#waiting.indexOf(job);
    if (at >= 0) this.#waiting.splice(at, 1);
    this.#running = this.#running.filter((other) => other !== job);
    this.#entries = this.#entries.filter((entry) => entry.job !== job);
  }

  /** The next step; undefined if there is nothing to do. Each plan must be committed before the next. */
  plan(): StepPlan | undefined {
    this.#admit();
    if (this.#entries.length === 0) return undefined;
    const pending = this.#entries.map(({ row, output }) => (row.asks && !output ? pendingCount(row) : 0));
    const choice = chooseRows(pending, this.#longWasLast, this.#limits.stepTokens);
    this.#longWasLast = choice.long;
    this.#active = choice.active;
    const first = choice.active.indexOf(true);
    const end = choice.active.lastIndexOf(true) + 1;
    return {
      sources: this.#entries.map(({ row }) => row.slot),
      times: this.#entries.map(({ row }) => row.cached),
      first,
      rows: this.#entries.slice(first, end).map(({ row }, index) => ({
        row,
        active: choice.active[first + index] ?? false,
        asks: row.asks ?? { kind: "next", count: 1 },
      })),
    };
  }

  /** Takes the outputs of the planned step, one per active row, in order; returns the jobs that moved on. */
  commit(outputs: readonly StepOutput[]): readonly Job[] {
    const active = this.#active ?? [];
    this.#active = undefined;
    let next = 0;
    this.#entries = this.#entries.map((entry, index): Entry => {
      const output = active[index] ? outputs[next++] : undefined;
      if (!output) return { ...entry, row: { ...entry.row, slot: index } };
      return { ...entry, row: afterStep(entry.row, index), output };
    });
    const ready = this.#running.filter((job) =>
      this.#entries.every((entry) => entry.job !== job || entry.output || !entry.row.asks),
    );
    for (const job of ready) this.#advance(job);
    return ready;
  }

  #advance(job: Job): void {
    const own = this.#entries.filter((entry) => entry.job === job);
    const outputs = own.flatMap(({ output }) => output ?? []);
    job.advance(
      own.map(({ row }) => row),
      outputs,
    );
    const rows = job.rows.map((row): Entry => ({ job, row }));
    const at = this.#entries.findIndex((entry) => entry.job === job);
    this.#entries = this.#entries.toSpliced(at, own.length, ...rows);
    if (rows.length === 0) this.#running = this.#running.filter((other) => other !== job);
  }

  /** First come, first served; a job's rows are counted in full from the start, so that none gets stuck. */
  #admit(): void {
    let room = this.#limits.rows - this.#running.reduce((sum, job) => sum + job.maxRows, 0);
    for (let job = this.#waiting[0]; job && job.maxRows <= room; job = this.#waiting[0]) {
      const admitted = job;
      room -= admitted.maxRows;
      this.#running.push(admitted);
      this.#entries.push(...admitted.rows.map((row): Entry => ({ job: admitted, row })));
      this.#waiting.shift();
    }
  }
}

/**
 * Which rows a step computes, from how many elements each has pending. Rows with one pending element (next tokens)
 * go together, all at once. Rows with more (prompts, given answers) go together, up to `stepTokens`, but in steps
 * of their own, so that next tokens are not padded to the length of a prompt. Where there are both, the two kinds
 * take turns: a long prompt delays others by one step, and a stream of prompts cannot starve those who wait for
 * their next token.
 */
export function chooseRows(
  pending: readonly number[],
  longWasLast: boolean,
  stepTokens: number,
): { readonly active: readonly boolean[]; readonly long: boolean } {
  const anyLong = pending.some((count) => count > 1);
  const long = anyLong && !(longWasLast && pending.includes(1));
  if (!long) return { active: pending.map((count) => count === 1), long };
  const first = pending.findIndex((count) => count > 1);
  let [end, width] = [first, 0];
  for (; end < pending.length && (pending[end] ?? 0) > 1; end++) {
    width = Math.max(width, pending[end] ?? 0);
    if (end > first && width * (end - first + 1) > stepTokens) break;
  }
  return { active: pending.map((_, index) => index >= first && index < end), long };
}
