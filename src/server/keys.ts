import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import { EpalmError } from "../core/errors.js";

declare module "fastify" {
  interface FastifyRequest {
    /** The name of the key that the request carries; undefined where no keys are asked for. */
    keyName: string | undefined;
  }
}

const DIGEST = /^sha256:([0-9a-f]{64})$/;

/**
 * Bearer keys. Digests are compared, each in constant time, and always all of them: how long it takes tells nothing.
 */
export class Keys {
  readonly #digests: ReadonlyMap<string, Buffer>;

  /** @param keys by name; `sha256:` and hex digits stand for the key of that digest */
  constructor(keys: Readonly<Record<string, string>>) {
    this.#digests = new Map(Object.entries(keys).map(([name, key]) => [name, digestOf(key)]));
  }

  /** A hook: refuses requests without a key, and notes whose it is. @throws unauthorized */
  readonly check = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    if (this.#digests.size === 0) return;
    request.keyName = this.#nameOf(request.headers.authorization ?? "");
    if (request.keyName !== undefined) return;
    reply.header("www-authenticate", 'Bearer realm="epalm"');
    throw new EpalmError("unauthorized", "expected a known key: Authorization: Bearer KEY");
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
