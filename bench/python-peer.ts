import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { EpalmError, messageOf } from "../src/core/errors.js";

/** Path of a Python with the packages that the peers need. */
export const PYTHON_VARIABLE = "EPALM_BENCH_PYTHON";

/** A Python program that does a piece of work per line of its input and answers each with a line. */
export class PythonPeer {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #errors = "";

  private constructor(process: ChildProcess, lines: AsyncIterator<string>) {
    this.#process = process;
    this.#lines = lines;
    process.stderr?.on("data", (chunk) => {
      this.#errors += chunk;
    });
  }

  /** Starts a script with its settings, and waits for the first line, with which it reports that it is ready. */
  static async start(python: string, script: string, settings: object): Promise<PythonPeer> {
    const child = spawn(python, [script, JSON.stringify(settings)], { stdio: ["pipe", "pipe", "pipe"] });
    const peer = new PythonPeer(child, createInterface({ input: child.stdout })[Symbol.asyncIterator]());
    const failed = once(child, "error").then(([error]) => {
      throw new EpalmError("not_found", `${PYTHON_VARIABLE}=${python}: ${messageOf(error)}`);
    });
    await Promise.race([peer.#next(script), failed]);
    return peer;
  }

  /** Sends a line and returns the answer. */
  ask(line: string): Promise<string> {
    this.#process.stdin?.write(`${line}\n`);
    return this.#next(line);
  }

  async close(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    this.#process.stdin?.end();
    await once(this.#process, "exit");
  }

  async #next(what: string): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done !== true) return value;
    throw new EpalmError("internal", `${what}: the Python process ended: ${this.#errors.trim()}`);
  }
}
