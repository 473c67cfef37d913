import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import { EpalmError } from "../core/errors.js";

declare module "fastify" {
  interface FastifyRequest {
    /** Name of the key in the request; undefined if the service has no keys. */
    keyName: string | undefined;
  }
}

const DIGEST = /^sha256:([0-9a-f]{64})$/;

/**
 * Bearer keys. Every check compares the digests of all keys, each in constant time, so that its duration reveals
 * nothing about the keys.
 */
export class Keys {
  readonly #digests: ReadonlyMap<string, Buffer>;
  readonly #whenWrong: (request: FastifyRequest, reply: FastifyReply) => Promise<void>;

  /**
   * @param keys keys by name, or their digests as `sha256:` and 64 hex digits
   * @param whenWrong called before a request is rejected; may delay the response or throw another error
   */
  constructor(
    keys: Readonly<Record<string, string>>,
    whenWrong: (request: FastifyRequest, reply: FastifyReply) => Promise<void>,
  ) {
    this.#whenWrong = whenWrong;
    this.#digests = new Map(Object.entries(keys).map(([name, key]) => [name, digestOf(key)]));
  }

  /** Hook that rejects requests without a known key and sets `keyName`. @throws unauthorized, rate_limited */
  readonly check = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    if (this.#digests.size === 0) return;
    request.keyName = this.#nameOf(request.headers.authorization ?? "");
    if (request.keyName !== undefined) return;
    await this.#whenWrong(request, reply);
    reply.header("www-authenticate", 'Bearer realm="epalm"');
    throw new EpalmError("unauthorized", "expected the header 'Authorization: Bearer KEY' with a valid key");
  };

  #nameOf(authorization: string): string | undefined {
    const [, key = ""] = /^Bearer +([^\s]+)$/i.exec(authorization) ?? [];
    const digest = sha256(key);
    let found: string | undefined;
    for (const [name, known] of this.#digests) {
      if (timingSafeEqual(known, digest)) found = name;
    }
    return found;
  }
}

function digestOf(key: string): Buffer {
  const [, hex] = DIGEST.exec(key) ?? [];
  return hex === undefined ? sha256(key) : Buffer.from(hex, "hex");
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
