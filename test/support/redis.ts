import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Redis } from "ioredis";

/** The path of a Redis or Valkey server: `REDIS_SERVER_PATH` or one of the usual names in the PATH. */
export function findRedis(): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const usual = folders.flatMap((folder) => ["redis-server", "valkey-server"].map((name) => join(folder, name)));
  return [process.env.REDIS_SERVER_PATH, ...usual].find((path) => path !== undefined && existsSync(path));
}

/** A server with a password that keeps every write in a folder. */
export class RedisServer {
  static readonly password = "a-password-for-tests";
  readonly #program: string;
  readonly #folder: string;
  readonly port: number;
  #process: ChildProcess | undefined;

  private constructor(program: string, folder: string, port: number) {
    this.#program = program;
    this.#folder = folder;
    this.port = port;
  }

  static async start(program: string, folder: string): Promise<RedisServer> {
    const server = new RedisServer(program, folder, await freePort());
    await server.start();
    return server;
  }

  get url(): string {
    return `redis://:${RedisServer.password}@127.0.0.1:${this.port}/1`;
  }

  async start(): Promise<void> {
    const keep = ["--dir", this.#folder, "--appendonly", "yes", "--appendfsync", "always", "--save", ""];
    const reach = ["--bind", "127.0.0.1", "--port", String(this.port), "--requirepass", RedisServer.password];
    this.#process = spawn(this.#program, [...reach, ...keep], { stdio: "ignore" });
    const client = new Redis(this.url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
    client.on("error", () => undefined);
    await client.ping();
    client.disconnect();
  }

  async stop(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null) return;
    const exit = once(child, "exit");
    child.kill("SIGTERM");
    await exit;
    await pause(50);
  }
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address ? address.port : 0;
}
