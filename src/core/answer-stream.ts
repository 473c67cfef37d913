import { EpalmError } from "./errors.js";

/** What came to the answer of one of several questions. */
export interface AnswerPiece {
  /** Which question. */
  readonly index: number;
  readonly text: string;
}

type State<Result> =
  | { readonly kind: "open" }
  | { readonly kind: "whole"; readonly result: Result }
  | { readonly kind: "failed"; readonly error: unknown };

/**
 * An answer as it grows: `for await` gives its pieces, `answer` the whole of it at the end. The request is made when the
 * first of the two is used, and its timeout counts from there. Leaving the loop early takes it back, in the service,
 * too.
 */
export class AnswerStream<Piece, Result> implements AsyncIterable<Piece> {
  readonly #pieces: AsyncGenerator<Piece, Result, undefined>;
  readonly #canceller = new AbortController();
  #state: State<Result> = { kind: "open" };

  /** @param start gives the pieces until the signal fires, and returns the whole answer after the last */
  constructor(start: (signal: AbortSignal) => AsyncGenerator<Piece, Result, undefined>) {
    this.#pieces = start(this.#canceller.signal);
  }

  /** Pieces that were not taken yet: a stream can be gone through once. */
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
   * The whole answer; pieces that were not taken are passed over.
   *
   * @throws what the stream failed with; `aborted` if it was left before its end
   */
  async answer(): Promise<Result> {
    while (this.#state.kind === "open") await this.#next();
    if (this.#state.kind === "failed") throw this.#state.error;
    return this.#state.result;
  }

  /** Takes the request back, unless the answer is whole. */
  async cancel(): Promise<void> {
    if (this.#state.kind !== "open") return;
    this.#state = { kind: "failed", error: new EpalmError("aborted", "the stream was left before its end") };
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
      // Left meanwhile: there is no answer.
      if (this.#state.kind === "open") this.#state = { kind: "whole", result: next.value };
      return { done: true, value: undefined };
    } catch (error) {
      if (this.#state.kind === "open") this.#state = { kind: "failed", error };
      throw error;
    }
  }
}

/** The pieces that a call tells as they come; returns its result, or throws what it fails with. */
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
