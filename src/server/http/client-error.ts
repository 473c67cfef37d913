import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import { EpalmError } from "../../core/errors.js";
import { PROBLEM_TYPE, problemOf } from "./problem.js";

/** Answers a request that Node's HTTP parser rejects with a problem, like other errors, and closes the connection. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === "ECONNRESET") {
    socket.destroy();
    return;
  }
  const known = asParserError(error);
  const problem = problemOf(known, randomUUID());
  const body = JSON.stringify(problem);
  const head = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}

function asParserError({ code, message }: NodeJS.ErrnoException): EpalmError {
  switch (code) {
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new EpalmError("slow_request", "the request did not arrive in time");
    case "HPE_HEADER_OVERFLOW":
      return new EpalmError("too_large", "headers: larger than the server accepts");
    default:
      return new EpalmError("invalid_option", `HTTP: ${message}`);
  }
}
