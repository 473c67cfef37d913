import { untilAborted } from "../../core/abort.js";
import { Semaphore } from "../../core/semaphore.js";

/** Items that may wait for an earlier one, per item in progress: one slow video must not stop the rest. */
const WINDOW = 4;

/** Bytes that waiting items may hold together, beyond which all of them are finished before another one is taken. */
const MAX_HELD_BYTES = 256 * 1024 * 1024;

export interface InOrderOptions<Item> {
  /** Number of items that are worked on at the same time. */
  readonly concurrency: number;
  readonly signal: AbortSignal;
  /** The memory of an item in bytes. */
  readonly sizeOf: (item: Item) => number;
}

/**
 * Works on several items at a time and passes each result to `write` in the order of the items, as soon as all earlier
 * ones have been written. Items are taken from the iterable only as they are needed, so that memory does not grow with
 * their number. After a failure, no further item is begun and no further result is written.
 *
 * @param work receives a signal that fires when the run fails or is aborted
 * @throws aborted; the errors of the iterable, `work` and `write`
 */
export async function runInOrder<Item, Result>(
  items: AsyncIterable<Item>,
  { concurrency, signal, sizeOf }: InOrderOptions<Item>,
  work: (item: Item, signal: AbortSignal) => Promise<Result>,
  write: (item: Item, result: Result) => void | Promise<void>,
): Promise<void> {
  const stopping = new AbortController();
  const stop = AbortSignal.any([signal, stopping.signal]);
  const inProgress = new Semaphore(concurrency);
  const unwritten = new Semaphore(WINDOW * concurrency);
  const failures: unknown[] = [];
  let written: Promise<void> = Promise.resolve();
  let held = 0;
  const working = new Set<AbortController>();
  stop.addEventListener("abort", () => {
    for (const controller of working) controller.abort(stop.reason);
  });
  const begin = (item: Item) => {
    const [before, size] = [written, sizeOf(item)];
    held += size;
    // A controller for each item: in Node 20, a signal remembers every signal that AbortSignal.any derived from it.
    const own = new AbortController();
    if (stop.aborted) own.abort(stop.reason);
    working.add(own);
    const result = inProgress.run(() => work(item, own.signal)).finally(() => working.delete(own));
    written = Promise.all([result, before]).then(async ([finished]) => {
      await write(item, finished);
      held -= size;
      unwritten.release();
    });
    written.catch((error: unknown) => {
      failures.push(error);
      stopping.abort();
    });
  };
  const iterator = items[Symbol.asyncIterator]();
  try {
    for (;;) {
      await unwritten.acquire(stop);
      if (held > MAX_HELD_BYTES) await untilAborted(written, stop);
      const next = await untilAborted(iterator.next(), stop);
      if (next.done) break;
      begin(next.value);
    }
    await untilAborted(written, stop);
  } catch (error) {
    stopping.abort();
    // Not awaited: the iterable may be waiting for standard input.
    iterator.return?.().catch(() => undefined);
    throw failures[0] ?? error;
  }
}
