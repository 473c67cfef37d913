import type { Feeds, Results, Session, SessionOptions } from "./session.js";
import { Thread } from "./thread.js";

/** A worker thread in which sessions run, so that they do not block the caller's event loop. */
export class SessionThread {
  readonly #thread = new Thread(new URL("./session-thread.worker.js", import.meta.url));

  /** Opens a session in the thread; see `openSession`. */
  async open(model: string | Uint8Array, options: SessionOptions = {}): Promise<Session> {
    const thread = this.#thread;
    const opened = await thread.call("open", { model, options });
    const { id, inputNames, outputNames } = opened as {
      id: number;
      inputNames: string[];
      outputNames: string[];
    };
    return {
      inputNames,
      outputNames,
      run: async (feeds: Feeds, fetches: readonly string[]) => {
        const results = await thread.call("run", { id, feeds, fetches });
        return results as Results;
      },
      close: async () => {
        await thread.call("close", { id });
      },
    };
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}
