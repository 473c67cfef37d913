import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

interface Process {
  readonly id: number;
  readonly parent: number;
  readonly command: string;
}

/** Ids of the running ffmpeg processes that this process started, or of all whose command contains `text`. */
export function runningFfmpegs(text?: string): number[] {
  return runningProcesses()
    .filter(({ command }) => /ffmpeg/.test(command))
    .filter(({ parent, command }) => (text === undefined ? parent === process.pid : command.includes(text)))
    .map(({ id }) => id);
}

/** Ids of the child processes of a process. */
export function childrenOf(pid: number | undefined): number[] {
  return runningProcesses()
    .filter(({ parent }) => parent === pid)
    .map(({ id }) => id);
}

/** Ids of the children of a process, their children, and so on. */
export function descendantsOf(pid: number): number[] {
  const all = runningProcesses();
  const below = (id: number): number[] =>
    all.filter(({ parent }) => parent === id).flatMap((p) => [p.id, ...below(p.id)]);
  return below(pid);
}

/** Whether a descendant of a process has a command that contains `text`. */
export function hasDescendant(pid: number | undefined, text: string): boolean {
  const below = new Set(pid === undefined ? [] : descendantsOf(pid));
  return runningProcesses().some(({ id, command }) => below.has(id) && command.includes(text));
}

function runningProcesses(): Process[] {
  return process.platform === "linux" ? linuxProcesses() : listedProcesses();
}

/** Used because small Linux images have no `ps`. */
function linuxProcesses(): Process[] {
  return readdirSync("/proc").flatMap((name) => {
    const id = Number(name);
    try {
      const parent = /^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${id}/status`, "latin1"))?.[1];
      return [{ id, parent: Number(parent), command: readFileSync(`/proc/${id}/cmdline`, "latin1") }];
    } catch {
      // Not a process, or one that has ended in the meantime.
      return [];
    }
  });
}

function listedProcesses(): Process[] {
  const list = execFileSync("ps", ["-A", "-o", "pid=,ppid=,args="], { encoding: "utf8" });
  return list.split("\n").map((line) => {
    const [, id, parent, command = ""] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
    return { id: Number(id), parent: Number(parent), command };
  });
}
