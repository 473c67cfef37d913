import type { Device } from "../core/device.js";

/** A lock that threads share: the first number is 1 while one of them has its turn. */
export type Turns = Int32Array<SharedArrayBuffer>;

/** A thread that has ended during its turn keeps it; after this time, another one takes it. */
const LONGEST_TURN_MS = 30_000;

const shared = new Map<Device, Turns>();

/** The lock of a device, which all models of this process share; undefined for the CPU, which divides its own time. */
export function turnsOf(device: Device): Turns | undefined {
  if (device === "cpu") return undefined;
  const turns = shared.get(device) ?? createTurns();
  shared.set(device, turns);
  return turns;
}

export function createTurns(): Turns {
  return new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
}

/** Runs `work` while no other thread that shares the lock does. Without a lock, runs it at once. */
export async function inTurn<T>(
  turns: Turns | undefined,
  work: () => Promise<T>,
  longest = LONGEST_TURN_MS,
): Promise<T> {
  if (!turns) return work();
  while (Atomics.compareExchange(turns, 0, 0, 1) === 1) {
    const { async: isAsync, value } = Atomics.waitAsync(turns, 0, 1, longest);
    if (isAsync && (await value) === "timed-out") break;
  }
  try {
    return await work();
  } finally {
    Atomics.store(turns, 0, 0);
    Atomics.notify(turns, 0);
  }
}
