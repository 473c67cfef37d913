import { SingleBar } from "cli-progress";

/** Erases what stands on the terminal's line. */
const CLEAR_LINE = "\r\x1b[K";

/** How far a run over many media is: a moving line on standard error, where that is a terminal of its own. */
export class BatchProgress {
  readonly #bar: SingleBar | undefined;
  #failed = 0;

  /** @param sharesTerminal whether answers are written to the same terminal, and would be torn by it */
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

  /** Lets something else write a line. */
  aside(write: () => void): void {
    if (this.#bar) process.stderr.write(CLEAR_LINE);
    write();
  }

  stop(): void {
    this.#bar?.stop();
  }
}
