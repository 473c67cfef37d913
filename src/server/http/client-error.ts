import { randomUUID } from "node:crypto";
import { type Server, type ServerResponse, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { EpalmError } from "../../core/errors.js";
import { PROBLEM_TYPE, problemOf } from "./problem.js";
import { dataHeaders } from "./security-headers.js";

/**
 * Answers requests that Node's HTTP server handles itself, which never reach fastify, with problems like other errors.
 */
export function answerServerErrors(server: Server): void {
  server.on("checkExpectation", (request, response) => {
    request.resume();
    const { status, headers, body } = rawProblem(
      new EpalmError("expectation_failed", "headers: expected no Expect except 100-continue"),
    );
    response.writeHead(status, headers).end(request.method === "HEAD" ? undefined : body);
  });
  server.on("connect", (_request, socket) => {
    answerAndClose(socket, new EpalmError("method_not_allowed", "the service is not a proxy"));
  });
}

/** Answers a request that Node's HTTP parser rejects with a problem, like other errors, and closes the connection. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  // Node keeps the response that a connection is sending; a second one within it would corrupt it.
  const { _httpMessage: response } = socket as Duplex & { readonly _httpMessage?: ServerResponse | null };
  if (!socket.writable || error.code === "ECONNRESET" || response?.headersSent) socket.destroy();
  else answerAndClose(socket, asParserError(error));
}

function answerAndClose(socket: Duplex, error: EpalmError): void {
  const { status, headers, body } = rawProblem(error);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const head = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`, ...lines].join("\r\n");
  socket.on("error", () => socket.destroy());
  socket.end(`${head}\r\n\r\n${body}`, () => socket.destroy());
}

function rawProblem(error: EpalmError) {
  const id = randomUUID();
  const problem = problemOf(error, id);
  const body = JSON.stringify(problem);
  const headers = {
    "content-type": PROBLEM_TYPE,
    "content-length": Buffer.byteLength(body),
    "x-request-id": id,
    ...dataHeaders,
    connection: "close",
  };
  return { status: problem.status, headers, body };
}

function asParserError({ code, message }: NodeJS.ErrnoException): EpalmError {
  switch (code) {
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new EpalmError("slow_request", "the request did not arrive in time");
    case "HPE_HEADER_OVERFLOW":
      return new EpalmError("headers_too_large", "headers: larger than the server accepts");
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return new EpalmError("too_large", "body: the chunk extensions are larger than the server accepts");
    default:
      return new EpalmError("invalid_option", `HTTP: ${message}`);
  }
}
