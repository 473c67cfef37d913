import { EpalmError, messageOf } from "../core/errors.js";
import { peakResidentBytes } from "../runtime/peak-resident-bytes.js";
import { type ClientTask, trainLocally } from "./client.js";
import type { FromClient } from "./client-process.js";

/**
 * The process of a client of federated pre-training: receives a task over its IPC channel, answers once and exits. The
 * client's images are only read in this process.
 */

function send(message: FromClient): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(message, undefined, undefined, (error) => (error ? reject(error) : resolve()));
  });
}

// The server's process has ended, so the answer is no longer needed.
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
