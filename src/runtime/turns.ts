/** A lock that threads share: the first number is 1 while one of them has its turn. */
export type Turns = Int32Array<SharedArrayBuffer>;

export function createTurns(): Turns {
  return new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
}

/** Ends the turn of a thread that has ended during it. */
export function newTurn(turns: Turns): void {
  Atomics.store(turns, 0, 0);
  Atomics.notify(turns, 0);
}

/** Runs `work` while no other thread that shares the lock does. Without a lock, runs it at once. */
export async function inTurn<T>(turns: Turns | undefined, work: () => Promise<T>): Promise<T> {
  if (!turns) return work();
  while (Atomics.compareExchange(turns, 0, 0, 1) === 1) {
    const { async: isAsync, value } = Atomics.waitAsync(turns, 0, 1);
    if (isAsync) await value;
  }
  try {
    return await work();
  } finally {
    newTurn(turns);
  }
}
