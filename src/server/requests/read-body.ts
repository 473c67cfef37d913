import type { IncomingMessage } from "node:http";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { untilAborted } from "../../core/abort.js";
import { EpalmError } from "../../core/errors.js";

/**
 * Receives JSON bodies as bytes, because `BodyReader` parses large ones in a thread. A request takes its place in the
 * queue when its body is complete.
 *
 * @param types media types of bodies with JSON
 */
export function takeJsonAsBytes(
  app: FastifyInstance,
  maxBytes: number,
  types: readonly string[] = ["application/json"],
): void {
  const expectRoom = (length: number) => {
    if (length > maxBytes) throw new EpalmError("too_large", `body: expected at most ${maxBytes} bytes`);
  };
  app.addContentTypeParser([...types], async ({ inFlight, headers }: FastifyRequest, payload: IncomingMessage) => {
    // Routes without the `enter` hook, such as unknown paths, do not read the body.
    if (!inFlight) return undefined;
    expectRoom(Number(headers["content-length"] ?? 0));
    let length = 0;
    // Destroying the stream would prevent the error from being sent to the client.
    const pieces = payload.iterator({ destroyOnReturn: false });
    const reading = readWhole(pieces, (bytes) => {
      length += bytes;
      expectRoom(length);
      inFlight.reserve(bytes);
    });
    const body = await untilAborted(reading, inFlight.signal);
    inFlight.enqueue();
    return body;
  });
}

/**
 * Reads all bytes of a stream into a buffer with its own memory, which can be transferred to a thread.
 *
 * @param take called with the length of each piece before it is stored; an error that it throws stops the reading
 */
export async function readWhole(
  stream: AsyncIterable<Buffer>,
  take: (bytes: number) => void,
): Promise<Buffer<ArrayBuffer>> {
  const pieces: Buffer[] = [];
  for await (const piece of stream) {
    take(piece.length);
    pieces.push(piece);
  }
  return joinPieces(pieces);
}

/** Copies pieces into a buffer with its own memory. */
export function joinPieces(pieces: readonly Buffer[]): Buffer<ArrayBuffer> {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const whole = Buffer.from(new ArrayBuffer(length));
  let at = 0;
  for (const piece of pieces) at += piece.copy(whole, at);
  return whole;
}
