import { EpalmError } from "../core/errors.js";
import type { Feeds, Results, Session, SessionOptions } from "./session.js";
import { Thread, type ThreadHealth } from "./thread.js";

/** The payload that opens a session in the thread. */
export interface OpenSession {
  /** Identifies the session in later calls. */
  readonly id: number;
  readonly model: string | Uint8Array;
  readonly options: SessionOptions;
}

/** A worker thread in which sessions run, so that they do not block the caller's event loop. */
export class SessionThread {
  /** The open sessions, which a new worker has to open again. */
  readonly #sessions = new Map<number, OpenSession>();
  readonly #thread = new Thread(new URL("./session-thread.worker.js", import.meta.url), {
    name: "sessions",
    restore: async (call) => {
      for (const session of this.#sessions.values()) await call("open", session);
    },
  });
  #nextId = 0;

  get health(): ThreadHealth {
    return this.#thread;
  }

  /** Opens a session in the thread; see `openSession`. */
  async open(model: string | Uint8Array, options: SessionOptions = {}): Promise<Session> {
    const session: OpenSession = { id: this.#nextId++, model, options };
    const { inputNames, outputNames } = await this.#open(session);
    this.#sessions.set(session.id, session);
    return {
      inputNames,
      outputNames,
      run: async (feeds: Feeds, fetches: readonly string[]) => {
        const results = await this.#thread.call("run", { id: session.id, feeds, fetches });
        return results as Results;
      },
      close: async () => {
        this.#sessions.delete(session.id);
        await this.#thread.call("close", { id: session.id });
      },
    };
  }

  close(): Promise<void> {
    return this.#thread.close();
  }

  async #open(session: OpenSession): Promise<Pick<Session, "inputNames" | "outputNames">> {
    const open = async () => (await this.#thread.call("open", session)) as Pick<Session, "inputNames" | "outputNames">;
    try {
      return await open();
    } catch (error) {
      // Only once: the session itself may have ended the thread.
      if (error instanceof EpalmError && error.code === "unavailable") return open();
      throw error;
    }
  }
}
