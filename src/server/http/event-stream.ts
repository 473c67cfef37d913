import { PassThrough } from "node:stream";
import type { FastifyReply } from "fastify";
import { eventStreamHeaders } from "../service.js";
import { asEpalmError, problemOf } from "./problem.js";

/** Sends one event: a name, or undefined for none, and data that becomes JSON unless it is a text. */
export type SendEvent = (name: string | undefined, data: unknown) => void;

/**
 * Answers in server-sent events. Nothing is sent before the first event, so that what fails until then is answered
 * with its own status; what fails later becomes the event `problem`.
 *
 * @param run sends events until it resolves
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
        reply.log.info({ code: known.code, err: known.status >= 500 ? error : undefined }, "stream broken off");
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
