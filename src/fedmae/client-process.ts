import { fork } from "node:child_process";
import { EpalmError, type ErrorCode } from "../core/errors.js";
import { byteCount, type ClientTask, type ClientUpdate, type MeasuredUpdate } from "./client.js";

/** Message from the process of a client. */
export type FromClient =
  | { readonly kind: "update"; readonly update: ClientUpdate; readonly peakBytes: number }
  | { readonly kind: "failure"; readonly code: ErrorCode; readonly message: string };

export interface ClientRun {
  readonly task: ClientTask;
  readonly images: readonly string[];
  /** Default: no limit. */
  readonly minutes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const entry = new URL("./client-process.worker.js", import.meta.url);

/**
 * Runs a client's round in its own process, which receives the task and the paths of its own images, and no data of
 * other clients.
 *
 * @throws the error of the client; internal if its process ended early; aborted if it took too long or was cancelled
 */
export function runClient({ task, images, minutes, signal }: ClientRun): Promise<MeasuredUpdate> {
  if (signal?.aborted) return Promise.reject(new EpalmError("aborted", "the run was stopped"));
  return new Promise((resolve, reject) => {
    const child = fork(entry, { serialization: "advanced", stdio: ["ignore", "ignore", "inherit", "ipc"] });
    const fail = (code: ErrorCode, reason: string) => {
      reject(new EpalmError(code, reason));
      child.kill("SIGKILL");
    };
    const expire = () => fail("aborted", `took more than ${minutes} minutes`);
    const timer = minutes === undefined ? undefined : setTimeout(expire, minutes * 60_000);
    const onAbort = () => fail("aborted", "the run was stopped");
    signal?.addEventListener("abort", onAbort);
    child.on("message", (message: FromClient) => {
      if (message.kind === "failure") return fail(message.code, message.message);
      const { update, peakBytes } = message;
      resolve({
        ...update,
        peakBytes,
        bytesDown: byteCount(task.weights),
        bytesUp: byteCount(update.weights),
      });
    });
    child.on("error", (error) => fail("internal", error.message));
    // The last message may arrive after `exit`, but never after `close`.
    child.on("close", (code, killedBy) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      fail("internal", `its process ended with ${killedBy ?? `code ${code}`}`);
    });
    child.send({ task, images }, (error) => {
      if (error) fail("internal", error.message);
    });
  });
}
