import { readdirSync, readFileSync } from "node:fs";

/** What a process and its child processes use; zeros except on Linux. */
export interface ProcessUsage {
  readonly residentBytes: number;
  /** Processor time, also of children that have ended. */
  readonly processorSeconds: number;
}

/** Linux counts in hundredths of a second (`getconf CLK_TCK`), whatever its kernel was built with. */
const TICKS_PER_SECOND = 100;

export function usageOf(root: number | undefined): ProcessUsage {
  const parents = new Map<number, ProcessUsage & { readonly parent: number }>();
  for (const name of readProcesses()) parents.set(Number(name), readProcess(name));
  const isWithin = (id: number): boolean => id === root || (id > 1 && isWithin(parents.get(id)?.parent ?? 0));
  const used = Array.from(parents).flatMap(([id, usage]) => (isWithin(id) ? [usage] : []));
  return {
    residentBytes: used.reduce((sum, { residentBytes }) => sum + residentBytes, 0),
    processorSeconds: used.reduce((sum, { processorSeconds }) => sum + processorSeconds, 0),
  };
}

function readProcess(name: string) {
  const status = readOrEmpty(`/proc/${name}/status`);
  const field = (key: string) => Number(new RegExp(`^${key}:\\s*(\\d+)`, "m").exec(status)?.[1] ?? 0);
  // The second field is the program's name in brackets; the 14th to 17th are utime, stime, cutime and cstime.
  const fields = readOrEmpty(`/proc/${name}/stat`)
    .replace(/^.*\) /s, "")
    .split(" ");
  const ticks = fields.slice(11, 15).reduce((sum, text) => sum + Number(text), 0);
  return {
    parent: field("PPid"),
    residentBytes: 1024 * field("VmRSS"),
    processorSeconds: ticks / TICKS_PER_SECOND,
  };
}

function readProcesses(): string[] {
  try {
    return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}

/** Processes end while they are being listed. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
