import { availableParallelism, freemem } from "node:os";
import { type Machine as Computer, describeMachine as describeComputer } from "../src/cli/measure/machine.js";
import { median } from "../src/cli/measure/median.js";
import { Thread } from "../src/runtime/thread.js";
import type { BandwidthTask } from "./bandwidth.worker.js";
import type { Table } from "./table.js";

/** Properties of the computer that the results depend on. */
export interface Machine extends Computer {
  /** Bytes per second that all cores together read from memory. */
  readonly readBandwidth: number;
}

/** Each core compares two buffers of this size, which is far larger than the caches. */
const BUFFER_BYTES = 256 * 2 ** 20;
/** If there are many cores and little memory, buffers are smaller, so that together they take at most this share. */
const MEMORY_SHARE = 0.25;
const ROUNDS = 9;
/** Comparisons per round, so that the time of a message to a thread is negligible. */
const REPEATS = 4;

export async function describeMachine(): Promise<Machine> {
  return { ...describeComputer(), readBandwidth: await measureReadBandwidth() };
}

export function machineTable(machine: Machine): Table {
  const rows = [
    ["cpu", `${machine.cpu}, ${machine.cores} cores`],
    ["memory", `${(machine.memoryBytes / 2 ** 30).toFixed(1)} GiB`],
    ["reads", `${(machine.readBandwidth / 1e9).toFixed(1)} GB/s, all cores`],
    ["node", machine.node],
    ["onnxruntime", machine.onnxruntime],
  ] as const;
  return {
    title: "machine",
    columns: [
      { key: "what", title: "" },
      { key: "value", title: "" },
    ],
    rows: rows.map(([what, value]) => ({ what, value })),
  };
}

/** Bytes per second. Each core compares two equal buffers, a native loop that only reads. */
export async function measureReadBandwidth(): Promise<number> {
  const cores = availableParallelism();
  const bytes = Math.min(BUFFER_BYTES, Math.floor((MEMORY_SHARE * freemem()) / (2 * cores)));
  const entry = new URL("./bandwidth.worker.js", import.meta.url);
  const threads = Array.from({ length: cores }, () => new Thread(entry));
  const task: BandwidthTask = { bytes, repeats: REPEATS };
  const all = (method: string) => Promise.all(threads.map((thread) => thread.call(method, task)));
  try {
    await all("allocate");
    const rates: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const started = performance.now();
      await all("compare");
      rates.push((2 * bytes * REPEATS * cores) / ((performance.now() - started) / 1000));
    }
    return median(rates);
  } finally {
    await Promise.all(threads.map((thread) => thread.close()));
  }
}
