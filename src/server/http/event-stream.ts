import { PassThrough } from "node:stream";
import type { FastifyReply } from "fastify";
import { failSpan } from "../../core/trace.js";
import { eventStreamHeaders } from "../service.js";
import { asEpalmError, errorBody, knownField, problemOf } from "./problem.js";

/** Sends one event. The name is optional; data other than strings is converted to JSON. */
export type SendEvent = (name: string | undefined, data: unknown) => void;

/**
 * Answers with server-sent events. Nothing is sent before the first event, so that an error before it is answered with
 * its own status. A later error is sent as the event `problem`.
 *
 * @param run sends the events; the stream ends when it resolves
 */
export function sendEvents(reply: FastifyReply, run: (send: SendEvent) => Promise<void>): Promise<FastifyReply> {
  const format: StreamFormat = {
    start: eventStreamHeaders,
    failure: (body) => formatEvent("problem", body),
  };
  return sendStream(reply, format, (write) => run((name, data) => write(formatEvent(name, data))));
}

/** Answers with newline-delimited JSON, as Ollama does. See `sendEvents`. */
export function sendLines(
  reply: FastifyReply,
  run: (send: (line: object) => void) => Promise<void>,
): Promise<FastifyReply> {
  const format: StreamFormat = { start: (to) => to.type("application/x-ndjson"), failure: formatLine };
  return sendStream(reply, format, (write) => run((line) => write(formatLine(line))));
}

interface StreamFormat {
  /** Sets the headers. */
  readonly start: (reply: FastifyReply) => FastifyReply;
  /** Formats the body of an error. */
  readonly failure: (body: object) => string;
}

function sendStream(
  reply: FastifyReply,
  { start, failure }: StreamFormat,
  run: (write: (text: string) => void) => Promise<void>,
): Promise<FastifyReply> {
  const stream = new PassThrough();
  return new Promise((resolve, reject) => {
    let isOpen = false;
    const write = (text: string) => {
      if (stream.destroyed) return;
      stream.write(text);
      if (isOpen) return;
      isOpen = true;
      resolve(start(reply).send(stream));
    };
    run(write).then(
      () => stream.end(),
      (error: unknown) => {
        if (!isOpen) {
          reject(error);
          return;
        }
        const known = asEpalmError(error);
        failSpan(known);
        if (known.status >= 500 && known.code !== "overloaded")
          reply.log.error({ code: known.code, err: error }, "stream failed");
        else reply.log.debug({ code: known.code, field: knownField(known) }, "stream failed");
        write(failure(errorBody(reply.request.url, problemOf(known, reply.request.id)).body));
        stream.end();
      },
    );
  });
}

function formatLine(line: object): string {
  return `${JSON.stringify(line)}\n`;
}

function formatEvent(name: string | undefined, data: unknown): string {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return `${name === undefined ? "" : `event: ${name}\n`}data: ${text}\n\n`;
}
