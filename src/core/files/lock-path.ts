import { createHash } from "node:crypto";
import { realpathSync, rmSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { EpalmError, messageOf } from "../errors.js";

/**
 * Runs `use` while no other process that calls this function can write the file or folder. The lock is a local socket
 * or a named pipe, which the operating system frees when the process ends, even if it is killed; a lock file would stay
 * behind. It is invisible to other machines, and to other containers that share the folder.
 *
 * @param path need not exist yet; different paths of one file count as the same. Without a path, nothing is locked.
 * @throws in_use; the errors of `use`
 */
export async function whileLocked<T>(
  path: string | undefined,
  use: () => Promise<T>,
  platform: NodeJS.Platform = process.platform,
): Promise<T> {
  if (path === undefined) return use();
  const server = await lock(path, addressOf(canonical(resolve(path)), platform));
  try {
    return await use();
  } finally {
    await new Promise((closed) => server.close(closed));
  }
}

/** Symbolic links are resolved as far as the path exists. */
function canonical(path: string): string {
  try {
    return realpathSync.native(path);
  } catch (error) {
    if (dirname(path) === path) throw error;
    return join(canonical(dirname(path)), basename(path));
  }
}

function addressOf(path: string, platform: NodeJS.Platform): string {
  // Sockets are limited to about 100 bytes of path.
  const name = `epalm-${createHash("sha256").update(path).digest("hex").slice(0, 32)}`;
  switch (platform) {
    case "linux":
      // The abstract namespace, in which a socket has no file.
      return `\0${name}`;
    case "win32":
      return `\\\\.\\pipe\\${name}`;
    default:
      return join(tmpdir(), `${name}.lock`);
  }
}

/** Attempts to lock, and the time between them. */
const ATTEMPTS = 5;
const PAUSE_MS = 50;

async function lock(path: string, address: string): Promise<Server> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await listen(address);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EADDRINUSE")) {
        throw new EpalmError("internal", `${path}: cannot be locked: ${messageOf(error)}`, { cause: error });
      }
      if (attempt === ATTEMPTS) {
        throw new EpalmError(
          "in_use",
          `${path}: another process is writing it; wait for its end or choose another path`,
        );
      }
      // A child process that another thread has just started holds a freed socket until it runs its own program.
      if (await isListening(address)) await delay(PAUSE_MS);
      // The socket file of a process that was killed.
      else rmSync(address, { force: true });
    }
  }
}

function listen(address: string): Promise<Server> {
  return new Promise((opened, failed) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", failed);
    server.listen(address, () => opened(server));
    server.unref();
  });
}

function isListening(address: string): Promise<boolean> {
  if (address.startsWith("\0")) return Promise.resolve(true);
  return new Promise((told) => {
    const socket = connect(address);
    socket.once("connect", () => told(true));
    socket.once("error", () => told(false));
    socket.once("close", () => socket.destroy());
  });
}
