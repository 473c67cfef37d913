import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ServerSettings } from "../../src/server/config.js";
import { listening } from "../serve.js";

/** Keys by the role of the client that uses them. */
export const keys = {
  bystander: "soak-key-of-the-bystander",
  heavy: "soak-key-of-a-heavy-client",
  other: "soak-key-of-another-client",
} as const;
export type Role = keyof typeof keys;

/** The service in a process of its own. */
export class SoakService {
  readonly #configPath: string;
  #process: ChildProcess | undefined;
  address = "";

  /** @param folder receives the config file */
  constructor(folder: string, settings: ServerSettings) {
    this.#configPath = join(folder, "soak.json");
    writeFileSync(this.#configPath, JSON.stringify({ port: 0, logLevel: "silent", keys, ...settings }));
  }

  async start(): Promise<void> {
    const entry = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
    const started = spawn(process.execPath, [entry, "serve", "--config", this.#configPath], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#process = started;
    this.address = await listening(started);
    started.stderr?.resume();
  }

  /** Sends the signal and waits for the end. Returns the exit code, or the signal that ended the process. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | NodeJS.Signals> {
    const running = this.#process;
    if (!running) return 0;
    if (running.exitCode === null && running.signalCode === null) {
      running.kill(signal);
      await once(running, "exit");
    }
    return running.exitCode ?? running.signalCode ?? 0;
  }

  get isRunning(): boolean {
    return this.#process?.exitCode === null && this.#process.signalCode === null;
  }

  /** Resident bytes of the service and its child processes; 0 except on Linux. */
  residentBytes(): number {
    return residentBytesOf(this.#process?.pid ?? 0);
  }
}

function residentBytesOf(root: number): number {
  const parents = new Map<number, { readonly parent: number; readonly bytes: number }>();
  for (const name of readProcesses()) {
    const status = readOrEmpty(`/proc/${name}/status`);
    const field = (key: string) => Number(new RegExp(`^${key}:\\s*(\\d+)`, "m").exec(status)?.[1] ?? 0);
    parents.set(Number(name), { parent: field("PPid"), bytes: 1024 * field("VmRSS") });
  }
  const isWithin = (id: number): boolean => id === root || (id > 1 && isWithin(parents.get(id)?.parent ?? 0));
  return Array.from(parents).reduce((sum, [id, { bytes }]) => sum + (isWithin(id) ? bytes : 0), 0);
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
