import { type Machine as Computer, describeMachine as describeComputer } from "../src/cli/measure/machine.js";
import { measureReadBandwidth } from "../src/cli/measure/read-bandwidth.js";
import type { Table } from "./table.js";

/** Properties of the computer that the results depend on. */
export interface Machine extends Computer {
  /** Bytes per second that all cores together read from memory. */
  readonly readBandwidth: number;
}

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
