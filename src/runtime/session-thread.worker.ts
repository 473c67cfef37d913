import { EpalmError } from "../core/errors.js";
import { serveThread } from "./serve-thread.js";
import { type Feeds, openSession, type Session } from "./session.js";
import type { OpenSession } from "./session-thread.js";

/** The worker of `SessionThread`. It keeps the open sessions by number and runs one at a time. */

const sessions = new Map<number, Session>();

function sessionOf(id: number): Session {
  const session = sessions.get(id);
  if (!session) throw new EpalmError("internal", `no session ${id} is open`);
  return session;
}

serveThread({
  async open({ id, model, options }: OpenSession) {
    const session = await openSession(model, options);
    sessions.set(id, session);
    return { inputNames: session.inputNames, outputNames: session.outputNames };
  },
  run: ({ id, feeds, fetches }: { id: number; feeds: Feeds; fetches: readonly string[] }) =>
    sessionOf(id).run(feeds, fetches),
  async close({ id }: { id: number }) {
    // If this thread replaces another, the session may have been closed before it was opened again.
    await sessions.get(id)?.close();
    sessions.delete(id);
  },
});
