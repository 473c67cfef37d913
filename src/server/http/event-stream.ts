import { PassThrough } from "node:stream";
import type { FastifyReply } from "fastify";
import { eventStreamHeaders } from "../service.js";
import { asEpalmError, knownField, problemOf } from "./problem.js";

/** Sends one event. The name is optional; data other than strings is converted to JSON. */
export type SendEvent = (name: string | undefined, data: unknown) => void;

/**
 * Answers with server-sent events. Nothing is sent before the first event, so that an error before it is answered with
 * its own status. A later error is sent as the event `problem`.
 *
 * @param run sends the events; the stream ends when it resolves
 */
export function sendEvents(reply: FastifyReply, run: (send: SendEvent) => Promise<void>): Promise<FastifyReply> {
  const stream = new PassThrough();
  return new Promise((resolve, reject) => {
    let isOpen = false;
    const send: SendEvent = (name, data) => {
      if (stream.destroyed) return;
      stream.write(formatEvent(name, data));
      if (isOpen) return;
      isOpen = true;
      resolve(eventStreamHeaders(reply).send(stream));
    };
    run(send).then(
      () => stream.end(),
      (error: unknown) => {
        if (!isOpen) {
          reject(error);
          return;
        }
        const known = asEpalmError(error);
        if (known.status >= 500 && known.code !== "overloaded")
          reply.log.error({ code: known.code, err: error }, "stream failed");
        else reply.log.debug({ code: known.code, field: knownField(known) }, "stream failed");
        send("problem", problemOf(known, reply.request.id));
        stream.end();
      },
    );
  });
}

function formatEvent(name: string | undefined, data: unknown): string {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return `${name === undefined ? "" : `event: ${name}\n`}data: ${text}\n\n`;
}
