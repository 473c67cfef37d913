import { SingleBar } from "cli-progress";

/** Erases the current line of the terminal. */
const CLEAR_LINE = "\r\x1b[K";

/** Progress of a run over several media: a line on standard error that is updated, if that is a terminal. */
export class BatchProgress {
  readonly #bar: SingleBar | undefined;
  #failed = 0;

  /** @param sharesTerminal whether answers go to the same terminal, in which case no progress is shown */
  constructor(total: number, sharesTerminal: boolean) {
    if (total < 2 || sharesTerminal || !process.stderr.isTTY) return;
    const format = "{bar} {value}/{total} · {failed} failed · {eta_formatted} left";
    this.#bar = new SingleBar({ format, stream: process.stderr, etaBuffer: 20 });
    this.#bar.start(total, 0, { failed: 0 });
  }

  done(isAnswered: boolean): void {
    if (!isAnswered) this.#failed++;
    this.#bar?.increment(1, { failed: this.#failed });
  }

  /** Clears the progress line before `write` writes its own line. */
  aside(write: () => void): void {
    if (this.#bar) process.stderr.write(CLEAR_LINE);
    write();
  }

  stop(): void {
    this.#bar?.stop();
  }
}
