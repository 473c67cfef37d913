import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";

/** Resident memory of a process in bytes; 0 if the system does not report it. */
export async function residentBytes(processId: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${processId}/status`, "latin1").catch(() => "");
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}

/**
 * Address space that V8 reserves for compiled code, which counts against a limit on data although it is not used: half
 * a gigabyte in Node 24, nothing in Node 20 and 22. A child process of the same Node reserves as much. Linux only.
 */
export function reservedCodeBytes(): number {
  const mappings = readFileSync("/proc/self/maps", "utf8").matchAll(/^([0-9a-f]+)-([0-9a-f]+) rwxp /gm);
  // Addresses have 47 bits, so numbers hold them exactly.
  return Array.from(mappings).reduce(
    (sum, [, start = "", end = ""]) => sum + parseInt(end, 16) - parseInt(start, 16),
    0,
  );
}
