import { openSession } from "../../src/runtime/session.js";
import { SessionThread } from "../../src/runtime/session-thread.js";

/** Opens a graph in this thread or in a worker thread, and ends. */
const [way, path = ""] = process.argv.slice(2);
if (way === "here") await (await openSession(path)).close();
else {
  const thread = new SessionThread();
  await (await thread.open(path)).close();
  await thread.close();
}
