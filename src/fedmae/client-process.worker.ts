import { EpalmError, messageOf } from "../core/errors.js";
import { peakResidentBytes } from "../runtime/peak-resident-bytes.js";
import { type ClientTask, trainLocally } from "./client.js";
import type { FromClient } from "./client-process.js";

/**
 * A client of federated pre-training, as a process of its own: gets a task over its channel, answers once, and ends.
 * Pictures are read here and nowhere else.
 */

function send(message: FromClient): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(message, undefined, undefined, (error) => (error ? reject(error) : resolve()));
  });
}

// Nobody waits for the answer any more: the server's process is gone.
process.once("disconnect", () => process.exit());

process.once("message", async (message: { readonly task: ClientTask; readonly images: readonly string[] }) => {
  try {
    const update = await trainLocally(message.task, message.images);
    await send({ kind: "update", update, peakBytes: peakResidentBytes() });
  } catch (error) {
    const code = error instanceof EpalmError ? error.code : "internal";
    await send({ kind: "failure", code, message: messageOf(error) });
  }
  process.disconnect();
});
