import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { EpalmError } from "../../src/core/errors.js";
import type { ServerSettings } from "../../src/server/config.js";
import { type ProcessUsage, usageOf } from "../process-usage.js";

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
    this.address = await addressOf(started);
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
    return this.usage().residentBytes;
  }

  usage(): ProcessUsage {
    return usageOf(this.#process?.pid);
  }
}

/** The address that the service prints on standard error, which is read until the end so that it stays open. */
function addressOf(started: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    started.stderr?.on("data", (chunk: Buffer) => {
      const [address] = /http:\/\/[\d.:]+/.exec(String(chunk)) ?? [];
      if (address === undefined) process.stderr.write(chunk);
      else resolve(address);
    });
    started.once("exit", () => reject(new EpalmError("internal", "the service exited before it was listening")));
  });
}
