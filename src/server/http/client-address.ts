import { isIP } from "node:net";
import type { FastifyRequest } from "fastify";

/**
 * The IP address of a client. If the header that a trusted proxy set contains none, it is the address of the proxy.
 */
export function clientAddress({ ip, socket }: FastifyRequest): string {
  // Some proxies append the port: `203.0.113.7:5000`, `[2001:db8::1]:5000`.
  const [, bare = ip] = /^\[(.+)\](?::\d+)?$/.exec(ip) ?? /^([\d.]+):\d+$/.exec(ip) ?? [];
  return isIP(bare) ? bare : (socket.remoteAddress ?? "");
}
