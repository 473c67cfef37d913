import { EpalmError } from "../core/errors.js";
import { serveThread } from "./serve-thread.js";
import { type Feeds, openSession, type Session, type SessionOptions } from "./session.js";

/** The worker of `SessionThread`. It keeps the open sessions by number and runs one at a time. */

const sessions = new Map<number, Session>();
let nextSession = 0;

function sessionOf(id: number): Session {
  const session = sessions.get(id);
  if (!session) throw new EpalmError("internal", `no session ${id} is open`);
  return session;
}

serveThread({
  async open({ model, options }: { model: string | Uint8Array; options: SessionOptions }) {
    const session = await openSession(model, options);
    const id = nextSession++;
    sessions.set(id, session);
    return { id, inputNames: session.inputNames, outputNames: session.outputNames };
  },
  run: ({ id, feeds, fetches }: { id: number; feeds: Feeds; fetches: readonly string[] }) =>
    sessionOf(id).run(feeds, fetches),
  async close({ id }: { id: number }) {
    await sessionOf(id).close();
    sessions.delete(id);
  },
});
