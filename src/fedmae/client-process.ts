import { fork } from "node:child_process";
import { EpalmError, type ErrorCode } from "../core/errors.js";
import type { Tensor } from "../tensor/tensor.js";
import type { ClientTask, ClientUpdate } from "./client.js";

/** What comes out of a client's process. */
export type FromClient =
  | { readonly kind: "update"; readonly update: ClientUpdate; readonly peakBytes: number }
  | { readonly kind: "failure"; readonly code: ErrorCode; readonly message: string };

/** A client's answer, and what it cost. */
export interface MeasuredUpdate extends ClientUpdate {
  /** The largest memory that the client's process had (resident set). */
  readonly peakBytes: number;
  /** Weights that went to the client, and that came back. */
  readonly bytesDown: number;
  readonly bytesUp: number;
}

export interface ClientRun {
  readonly task: ClientTask;
  readonly images: readonly string[];
  readonly minutes: number;
  readonly signal?: AbortSignal | undefined;
}

const entry = new URL("./client-process.worker.js", import.meta.url);

/**
 * Runs a client's round in a process of its own, which gets the task and its own pictures' paths, and nothing of other
 * clients.
 *
 * @throws what the client failed with; internal if it died; aborted if it took too long or was cancelled
 */
export function runClient({ task, images, minutes, signal }: ClientRun): Promise<MeasuredUpdate> {
  if (signal?.aborted) return Promise.reject(new EpalmError("aborted", "the run was stopped"));
  return new Promise((resolve, reject) => {
    const child = fork(entry, { serialization: "advanced", stdio: ["ignore", "ignore", "inherit", "ipc"] });
    const fail = (code: ErrorCode, reason: string) => {
      reject(new EpalmError(code, reason));
      child.kill("SIGKILL");
    };
    const timer = setTimeout(() => fail("aborted", `took more than ${minutes} minutes`), minutes * 60_000);
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
    // Its last message may come after its end, but not after its channel's.
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

function byteCount(tensors: ReadonlyMap<string, Tensor>): number {
  return Array.from(tensors.values(), ({ data }) => data.byteLength).reduce((sum, bytes) => sum + bytes, 0);
}
