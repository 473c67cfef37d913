import type { ReadStream } from "node:fs";
import { SingleBar } from "cli-progress";

/** Progress of a run over the lines of a file: a line on standard error that is updated, if that is a terminal. */
export class FileProgress {
  readonly #bar: SingleBar | undefined;
  readonly #stream: ReadStream;

  /** @param bytes size of the file */
  constructor(stream: ReadStream, bytes: number) {
    this.#stream = stream;
    if (!process.stderr.isTTY) return;
    const format = "{bar} {percentage} % of the file · {failed} failed · {eta_formatted} left";
    this.#bar = new SingleBar({ format, stream: process.stderr, etaBuffer: 20 });
    this.#bar.start(bytes, 0, { failed: 0 });
  }

  /** Shows how much of the file has been read. */
  show(failed: number): void {
    this.#bar?.update(this.#stream.bytesRead, { failed });
  }

  stop(): void {
    this.#bar?.stop();
  }
}
