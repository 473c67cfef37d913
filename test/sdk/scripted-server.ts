import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after } from "node:test";
import type { TextAnswer } from "../../src/wire.js";

/** Answers one request. */
export type Step = (response: ServerResponse, request: IncomingMessage) => void;

export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
  /** Time of arrival according to `performance.now()`; milliseconds. */
  readonly at: number;
}

export interface Scripted {
  readonly url: string;
  readonly received: Received[];
  /** Resolves when the client closes the connection of an unanswered request. */
  readonly left: Promise<void>;
}

/** Starts a server that answers each request with the next step and repeats the last step. */
export async function scripted(...steps: Step[]): Promise<Scripted> {
  const received: Received[] = [];
  let leave: () => void = () => undefined;
  const left = new Promise<void>((resolve) => {
    leave = resolve;
  });
  const server = createServer(async (request, response) => {
    response.on("close", () => {
      if (!response.writableFinished) leave();
    });
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const { method = "", url = "", headers } = request;
    const body = Buffer.concat(pieces).toString("latin1");
    received.push({ method, path: url, headers, body, at: performance.now() });
    steps[Math.min(received.length, steps.length) - 1]?.(response, request);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received, left };
}

/** An answer in the format of the service. */
export const wholeAnswer: TextAnswer = {
  text: "a cat",
  texts: [{ text: "a cat", score: -1.5, finish_reason: "stop" }],
  model: "m",
  adapter: "a",
  modality: "image",
  usage: { prompt_tokens: 1, completion_tokens: 3 },
  timings: { queue: 0, media: 1, encoder: 2, adapter: 3, decoder: 4 },
};

export function answers(json: unknown = wholeAnswer, status = 200): Step {
  return (response) => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(json));
  };
}

/** Answers with a problem in the format of the service. */
export function refuses(status: number, code: string, headers: Record<string, string> = {}): Step {
  return (response) => {
    const problem = { type: "t", title: "t", status, detail: "not now", instance: "id-1", code };
    response.writeHead(status, { "content-type": "application/problem+json", ...headers });
    response.end(JSON.stringify(problem));
  };
}

/** Answers with a body that no epalm service sends. */
export function says(status: number, body: string, headers: Record<string, string> = {}): Step {
  return (response) => {
    response.writeHead(status, headers).end(body);
  };
}

export const resets: Step = (_, request) => {
  request.socket.resetAndDestroy();
};

export const hangs: Step = () => undefined;

export function eventText(name: string, data: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** Sends events, then ends the body, breaks the connection, or does neither. */
export function streams(events: readonly string[], end: "ends" | "breaks" | "hangs" = "ends"): Step {
  return (response, request) => {
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    response.write(events.join(""), () => {
      if (end === "ends") response.end();
      // Delayed, so that the written data arrives.
      if (end === "breaks") setTimeout(() => request.socket.resetAndDestroy(), 20);
    });
  };
}
