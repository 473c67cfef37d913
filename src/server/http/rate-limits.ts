import { setTimeout as pause } from "node:timers/promises";
import rateLimit from "@fastify/rate-limit";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import ipaddr from "ipaddr.js";
import { EpalmError } from "../../core/errors.js";
import type { ServerConfig } from "../config.js";
import { clientAddress } from "./client-address.js";

/** A hook that counts a request. @throws rate_limited */
export type RateLimit = (request: FastifyRequest, reply: FastifyReply) => Promise<void>;

/** The limits of a service. Each counts separately, so that a page view or a scrape uses up no answers. */
export interface RateLimits {
  /** Requests to the models. */
  readonly asks: RateLimit;
  /** Metrics and the list of samples. */
  readonly reads: RateLimit;
  /** Files of samples. */
  readonly files: RateLimit;
  /** Requests with wrong keys: counted per address, and delayed. */
  readonly wrongKeys: RateLimit;
}

/** Delay of the response to a wrong key; milliseconds. It bounds the guesses of one connection. */
const WRONG_KEY_DELAY = 250;

/** Responses that may be delayed at the same time; further ones are rejected at once, so that they hold no memory. */
const MAX_DELAYED = 64;

/**
 * The rate limits of the config; without any, only wrong keys are limited.
 *
 * @param filesPerRead number of files that a client may fetch after reading their list
 */
export async function rateLimits(
  app: FastifyInstance,
  limit: ServerConfig["rateLimit"],
  filesPerRead: number,
): Promise<RateLimits> {
  const delay = wrongKeyDelay();
  if (!limit) return { asks: unlimited, reads: unlimited, files: unlimited, wrongKeys: delay };
  const { requests, seconds } = limit;
  await app.register(rateLimit, {
    global: false,
    timeWindow: seconds * 1000,
    keyGenerator: clientOf,
    errorResponseBuilder: (_request, { max }) =>
      new EpalmError("rate_limited", `expected at most ${max} requests within ${seconds} s`),
  });
  // With options, each call counts in a store of its own.
  const counter = (max: number): RateLimit => {
    const count = app.rateLimit({ max });
    return (request, reply) => Promise.resolve(count.call(app, request, reply)).then(() => undefined);
  };
  const countWrong = counter(requests);
  return {
    asks: counter(requests),
    reads: counter(requests),
    files: counter(requests * filesPerRead),
    wrongKeys: async (request, reply) => {
      await countWrong(request, reply);
      await delay(request, reply);
    },
  };
}

async function unlimited(): Promise<void> {}

function wrongKeyDelay(): RateLimit {
  let delayed = 0;
  return async (_request, reply) => {
    if (delayed >= MAX_DELAYED) {
      reply.header("retry-after", 1);
      throw new EpalmError(
        "rate_limited",
        `expected at most ${MAX_DELAYED} requests with a wrong key at the same time`,
      );
    }
    delayed++;
    await pause(WRONG_KEY_DELAY).finally(() => delayed--);
  };
}

/** Length of the prefix that identifies a client with IPv6, which usually has all addresses in it. */
const IPV6_PREFIX_PARTS = 4;

/** What requests are counted by: the name of the key, or the address; of an IPv6 address, its first 64 bits. */
export function clientOf(request: FastifyRequest): string {
  if (request.keyName !== undefined) return `key ${request.keyName}`;
  const address = clientAddress(request);
  if (!ipaddr.isValid(address)) return `address ${address}`;
  const parsed = ipaddr.process(address);
  const group = parsed instanceof ipaddr.IPv6 ? parsed.parts.slice(0, IPV6_PREFIX_PARTS).join(":") : parsed.toString();
  return `address ${group}`;
}
