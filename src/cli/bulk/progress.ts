import { formatCount, note } from "../output/output.js";

/** Erases the current line of the terminal. */
const CLEAR_LINE = "\r\x1b[K";

/** Milliseconds between two updates of a line on a terminal, and between two lines in a log. */
const REDRAW_MS = 200;
const LOG_MS = 30_000;

/** Progress of a run on standard error: a line that is updated on a terminal, otherwise a line every 30 seconds. */
export class RunProgress {
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #onTerminal = process.stderr.isTTY;
  readonly #started = performance.now();
  #counts: Omit<ProgressCounts, "seconds"> = { total: undefined, units: 0, skipped: 0, answered: 0, failed: 0 };

  /** @param isShown false if there is one medium, or if answers go to the same terminal */
  constructor(isShown: boolean) {
    if (!isShown) return;
    this.#timer = setInterval(() => this.#show(), this.#onTerminal ? REDRAW_MS : LOG_MS);
    this.#timer.unref();
  }

  /** Files and shards of the run, once they have been counted. */
  set total(total: number | undefined) {
    this.#counts = { ...this.#counts, total };
  }

  /** A medium was answered, or failed. */
  medium(isAnswered: boolean): void {
    const { answered, failed } = this.#counts;
    this.#counts = { ...this.#counts, ...(isAnswered ? { answered: answered + 1 } : { failed: failed + 1 }) };
  }

  /** All media of a file or shard are done. */
  unit(isSkipped: boolean): void {
    const { units, skipped } = this.#counts;
    this.#counts = { ...this.#counts, units: units + 1, skipped: skipped + (isSkipped ? 1 : 0) };
  }

  /** Clears the progress line before `write` writes its own line. */
  aside(write: () => void): void {
    if (this.#timer && this.#onTerminal) process.stderr.write(CLEAR_LINE);
    write();
  }

  stop(): void {
    if (!this.#timer) return;
    clearInterval(this.#timer);
    if (!this.#onTerminal) return;
    this.#show();
    process.stderr.write("\n");
  }

  #show(): void {
    if (this.#onTerminal) process.stderr.write(CLEAR_LINE + this.#text());
    else note(this.#text());
  }

  #text(): string {
    return progressText({ ...this.#counts, seconds: (performance.now() - this.#started) / 1000 });
  }
}

/** What a run has done so far. */
export interface ProgressCounts {
  /** Files and shards of the run; undefined if it is unknown. */
  readonly total: number | undefined;
  /** Files and shards that are done. */
  readonly units: number;
  /** Those of them that needed no work; they say nothing about the time left. */
  readonly skipped: number;
  readonly answered: number;
  readonly failed: number;
  readonly seconds: number;
}

export function progressText({ total, units, skipped, answered, failed, seconds }: ProgressCounts): string {
  const of = total === undefined ? "" : `/${formatCount(total)}`;
  const parts = [
    `${formatCount(units)}${of}`,
    `${formatCount(failed)} failed`,
    `${((answered + failed) / seconds).toFixed(1)} files/s`,
  ];
  if (total !== undefined && units > skipped) {
    parts.push(`${formatSeconds(((total - units) / (units - skipped)) * seconds)} left`);
  }
  return parts.join(" · ");
}

/** Formats a duration as `45 s`, `12 min` or `3 h 5 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
