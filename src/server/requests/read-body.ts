import type { IncomingMessage } from "node:http";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { EpalmError } from "../../core/errors.js";

/**
 * JSON bodies are taken as bytes: what they say is read where it holds up nobody (`BodyReader`). A request takes its
 * place when the last byte is here.
 */
export function takeJsonAsBytes(app: FastifyInstance, maxBytes: number): void {
  const expectRoom = (length: number) => {
    if (length > maxBytes) throw new EpalmError("too_large", `body: expected at most ${maxBytes} bytes`);
  };
  app.addContentTypeParser(
    "application/json",
    async ({ inFlight, headers }: FastifyRequest, payload: IncomingMessage) => {
      // Where nothing is asked, as at addresses that do not exist, nothing is read.
      if (!inFlight) return undefined;
      expectRoom(Number(headers["content-length"] ?? 0));
      let length = 0;
      // Whose body is refused shall still get the answer that says so.
      const pieces = payload.iterator({ destroyOnReturn: false });
      const body = await readWhole(pieces, (bytes) => {
        length += bytes;
        expectRoom(length);
        inFlight.reserve(bytes);
      });
      inFlight.enqueue();
      return body;
    },
  );
}

/**
 * All bytes of a stream, in a buffer of their own, which may be handed over to a thread.
 *
 * @param take told of each piece's length before it is kept; what it throws ends the reading
 */
export async function readWhole(
  stream: AsyncIterable<Buffer>,
  take: (bytes: number) => void,
): Promise<Buffer<ArrayBuffer>> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of stream) {
    take(piece.length);
    length += piece.length;
    pieces.push(piece);
  }
  const whole = Buffer.from(new ArrayBuffer(length));
  let at = 0;
  for (const piece of pieces) at += piece.copy(whole, at);
  return whole;
}
