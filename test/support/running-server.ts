import { parseServerConfig, type ServerSettings } from "../../src/server/config.js";
import { createServer, type Server } from "../../src/server/http/create-server.js";
import { Models } from "../../src/server/models.js";
import type { Problem } from "../../src/wire.js";
import { atEnd } from "./at-end.js";

export interface Running {
  readonly server: Server;
  readonly models: Models;
  /** The base URL, without a trailing slash. */
  readonly url: string;
  /** Log lines as objects. */
  readonly log: Record<string, unknown>[];
  stop(): Promise<void>;
}

/** Starts a complete service on a free port; it is stopped after all tests of the process. */
export async function startServer(settings: ServerSettings, models = new Models()): Promise<Running> {
  const config = parseServerConfig({ port: 0, threads: 1, checksums: false, ...settings });
  const log: Record<string, unknown>[] = [];
  const server = await createServer({
    config,
    models,
    version: "0.0.0",
    log: { write: (line) => void log.push(JSON.parse(line)) },
  });
  if (!models.isLoaded) await models.load(config, config.threads);
  const url = await server.listen();
  const stop = async () => {
    await server.close();
    await models.close();
  };
  atEnd(stop);
  return { server, models, url, log, stop };
}

/** A multipart form with an image and fields; a field with a list of values is repeated. */
export function form(
  image: Uint8Array | undefined,
  fields: Readonly<Record<string, string | readonly string[]>> = {},
): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const text of typeof value === "string" ? [value] : value) data.append(name, text);
  }
  if (image) data.append("image", new Blob([new Uint8Array(image)], { type: "image/png" }), "picture.png");
  return data;
}

export function postForm(url: string, body: FormData, init: RequestInit = {}): Promise<Response> {
  return fetch(url, { method: "POST", body, ...init });
}

export function postJson(url: string, body: unknown, init: RequestInit = {}): Promise<Response> {
  const headers = { "content-type": "application/json", ...init.headers };
  return fetch(url, { method: "POST", body: JSON.stringify(body), ...init, headers });
}

/** The body of a response that must be a problem with the given status. */
export async function problemIn(response: Response, status: number): Promise<Problem> {
  const text = await response.text();
  if (response.status !== status || !/^application\/problem\+json/.test(response.headers.get("content-type") ?? "")) {
    throw new TypeError(`expected a problem of status ${status}, got ${response.status}: ${text}`);
  }
  return JSON.parse(text) as Problem;
}

/** Names and data of the events of a stream. */
export async function eventsIn(response: Response): Promise<{ name: string | undefined; data: unknown }[]> {
  const text = await response.text();
  return text
    .split("\n\n")
    .filter((block) => block !== "")
    .map((block) => {
      const [, name] = /^event: (.*)$/m.exec(block) ?? [];
      const [, data = ""] = /^data: (.*)$/m.exec(block) ?? [];
      return { name, data: data === "[DONE]" ? data : (JSON.parse(data) as unknown) };
    });
}
