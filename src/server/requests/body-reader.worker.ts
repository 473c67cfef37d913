import { type MethodContext, serveThread } from "../../runtime/serve-thread.js";
import type { ReadBody } from "./body-reader.js";
import { mediaBytesIn, tryJsonBody } from "./json-body.js";

/** The thread behind `BodyReader`. */
serveThread({
  read({ kind, bytes, maxBytes }: ReadBody, { transfer }: MethodContext) {
    const outcome = tryJsonBody(kind, bytes, maxBytes);
    if (outcome.kind === "refused") return outcome;
    for (const { buffer, byteLength } of mediaBytesIn(outcome.body)) {
      // Small buffers share their memory with others, so they are copied.
      if (buffer.byteLength === byteLength) transfer(buffer as ArrayBuffer);
    }
    return outcome;
  },
});
