import { parentPort } from "node:worker_threads";
import { EpalmError, messageOf } from "../core/errors.js";
import type { FromThread, ToThread } from "./thread-worker.js";

export interface MethodContext {
  /** Fires when the caller cancels the call. */
  readonly signal: AbortSignal;
  /** Sends an event to the caller before the result. */
  emit(event: unknown): void;
  /** Marks a buffer of the result to be transferred instead of copied. */
  transfer(buffer: ArrayBuffer): void;
}

export type Methods = Readonly<Record<string, (payload: never, context: MethodContext) => unknown>>;

/** A method of every thread, which returns as soon as the thread takes calls. */
export const STARTED = "started";

/** Serves the calls of the `Thread` that started this worker thread. Several calls may run at the same time. */
export function serveThread(methods: Methods): void {
  const port = parentPort;
  if (!port) throw new EpalmError("internal", "serveThread runs in a worker thread only");
  const post = (message: FromThread, transferred: readonly ArrayBuffer[] = []) =>
    port.postMessage(message, transferred);
  const served: Methods = { [STARTED]: () => undefined, ...methods };
  const running = new Map<number, AbortController>();

  async function answer({ id, method, payload }: Extract<ToThread, { kind: "call" }>): Promise<void> {
    const controller = new AbortController();
    running.set(id, controller);
    try {
      const handler = Object.hasOwn(served, method) ? served[method] : undefined;
      if (!handler) throw new EpalmError("internal", `a thread has no method '${method}'`);
      const emit = (event: unknown) => post({ kind: "event", id, event });
      const transferred: ArrayBuffer[] = [];
      const transfer = (buffer: ArrayBuffer) => transferred.push(buffer);
      const result = await handler(payload as never, { signal: controller.signal, emit, transfer });
      post({ kind: "result", id, result }, transferred);
    } catch (error) {
      const code = error instanceof EpalmError ? error.code : "internal";
      post({ kind: "error", id, code, message: messageOf(error) });
    } finally {
      running.delete(id);
    }
  }

  port.on("message", (message: ToThread) => {
    switch (message.kind) {
      case "call":
        void answer(message);
        return;
      case "abort":
        running.get(message.id)?.abort();
        return;
      case "close":
        for (const controller of running.values()) controller.abort();
        // Once the port is closed, the thread ends as soon as the running work is done.
        port.close();
        return;
      default:
        message satisfies never;
    }
  });
}
