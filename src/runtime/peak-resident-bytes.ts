import { readFileSync } from "node:fs";
import { EpalmError } from "../core/errors.js";

/**
 * The most resident memory that this process ever had. On Linux not `resourceUsage().maxRSS`: that is inherited, a
 * child begins with the peak of the process that started it.
 */
export function peakResidentBytes(): number {
  if (process.platform !== "linux") return process.resourceUsage().maxRSS * 1024;
  const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  if (kibibytes === undefined) throw new EpalmError("internal", "/proc/self/status: has no VmHWM");
  return Number(kibibytes) * 1024;
}
