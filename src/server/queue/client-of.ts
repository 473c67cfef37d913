import type { FastifyRequest } from "fastify";
import ipaddr from "ipaddr.js";

/** Network prefix by which IPv6 addresses are grouped: providers give at least this much to one customer. */
const IPV6_GROUPS = 4;

/** Identifies the client of a request for quotas and fair scheduling: by its key, or by its address without keys. */
export function clientOf({ keyName, ip }: Pick<FastifyRequest, "keyName" | "ip">): string {
  return keyName === undefined ? `address ${addressGroup(ip)}` : `key ${keyName}`;
}

/** An IPv4 address, or the /64 network of an IPv6 address. */
export function addressGroup(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  if (parsed instanceof ipaddr.IPv4) return parsed.toString();
  const network = parsed.parts.slice(0, IPV6_GROUPS).map((part) => part.toString(16));
  return `${network.join(":")}::/64`;
}
