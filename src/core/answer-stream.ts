import { EpalmError } from "./errors.js";

/** A piece of the answer to one of several questions. */
export interface AnswerPiece {
  /** Index of the question. */
  readonly index: number;
  readonly text: string;
}

type State<Result> =
  | { readonly kind: "open" }
  | { readonly kind: "whole"; readonly result: Result }
  | { readonly kind: "failed"; readonly error: unknown };

/**
 * An answer that grows: `for await` yields its pieces, and `answer` returns the complete answer at the end. The
 * request is sent when either is first used, and its timeout starts then. Leaving the loop early cancels the request,
 * in the service as well.
 *
 * @example
 * ```ts
 * import { load } from "epalm";
 * const model = await load("my-model");
 * const stream = model.streamCaption("photo.jpg", { beams: 1 });
 * for await (const piece of stream) process.stdout.write(piece);
 * const { usage } = await stream.answer();
 * ```
 */
export class AnswerStream<Piece, Result> implements AsyncIterable<Piece> {
  readonly #pieces: AsyncGenerator<Piece, Result, undefined>;
  readonly #canceller = new AbortController();
  readonly #leftEarly: (message: string) => EpalmError;
  #state: State<Result> = { kind: "open" };

  /**
   * @param start yields the pieces until the signal fires, and returns the complete answer after the last one
   * @param leftEarly creates the error for a stream that is cancelled before its end
   */
  constructor(
    start: (signal: AbortSignal) => AsyncGenerator<Piece, Result, undefined>,
    leftEarly: (message: string) => EpalmError = (message) => new EpalmError("aborted", message),
  ) {
    this.#leftEarly = leftEarly;
    this.#pieces = start(this.#canceller.signal);
  }

  /** Yields the pieces that have not been consumed yet; a stream can be iterated only once. */
  [Symbol.asyncIterator](): AsyncIterator<Piece, undefined, undefined> {
    return {
      next: () => this.#next(),
      return: async () => {
        await this.cancel();
        return { done: true, value: undefined };
      },
    };
  }

  /**
   * The complete answer. Pieces that have not been consumed are skipped.
   *
   * @throws the error that the stream failed with; `aborted` if it was closed before its end
   */
  async answer(): Promise<Result> {
    while (this.#state.kind === "open") await this.#next();
    if (this.#state.kind === "failed") throw this.#state.error;
    return this.#state.result;
  }

  /** Cancels the request unless the answer is complete. */
  async cancel(): Promise<void> {
    if (this.#state.kind !== "open") return;
    this.#state = { kind: "failed", error: this.#leftEarly("the stream was cancelled before its end") };
    // A generator that waits for a piece hears of nothing else.
    this.#canceller.abort();
    await this.#pieces.return(undefined as never);
  }

  async #next(): Promise<IteratorResult<Piece, undefined>> {
    if (this.#state.kind === "whole") return { done: true, value: undefined };
    if (this.#state.kind === "failed") throw this.#state.error;
    try {
      const next = await this.#pieces.next();
      if (!next.done) return next;
      // If the stream was closed in the meantime, there is no answer.
      if (this.#state.kind === "open") this.#state = { kind: "whole", result: next.value };
      return { done: true, value: undefined };
    } catch (error) {
      if (this.#state.kind === "open") this.#state = { kind: "failed", error };
      throw error;
    }
  }
}

/** Yields the pieces that a call reports as they arrive. Returns the call's result, or throws its error. */
export async function* piecesOfCall<Piece, Result>(
  call: (tell: (piece: Piece) => void) => Promise<Result>,
): AsyncGenerator<Piece, Result, undefined> {
  const waiting: Piece[] = [];
  let isOver = false;
  let wake = () => {};
  const work = call((piece) => {
    waiting.push(piece);
    wake();
  });
  const end = () => {
    isOver = true;
    wake();
  };
  work.then(end, end);
  for (;;) {
    yield* waiting.splice(0);
    if (waiting.length > 0) continue;
    if (isOver) return work;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}
