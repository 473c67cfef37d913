import { readFileSync } from "node:fs";
import { EpalmError } from "../core/errors.js";

/**
 * Peak resident memory of this process, in bytes. On Linux, `resourceUsage().maxRSS` is not used because it is
 * inherited: a child process starts with the peak of its parent.
 */
export function peakResidentBytes(): number {
  if (process.platform !== "linux") return process.resourceUsage().maxRSS * 1024;
  const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  if (kibibytes === undefined)
    throw new EpalmError("internal", "/proc/self/status: expected a line with VmHWM, found none");
  return Number(kibibytes) * 1024;
}
