import { lookup as systemLookup } from "node:dns";
import type { IncomingMessage } from "node:http";
import { type RequestOptions, request } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";
import { throwIfAborted } from "../../core/abort.js";
import { EpalmError, excerpt, messageOf } from "../../core/errors.js";
import { FieldError } from "../http/problem.js";

export interface RemoteLimits {
  /** `host` or `host:port`, in lower case, matched exactly. */
  readonly hosts: readonly string[];
  readonly maxBytes: number;
  /** Time limit for the whole download, including redirects. */
  readonly seconds: number;
  readonly redirects: number;
  /** The message about a host that is not in `hosts`. Default: that of the service. */
  readonly refusal?: (host: string) => string;
}

/** Access to the network; tests replace it. */
export interface Network {
  readonly lookup: LookupFunction;
  /** Whether connections to an IP address are allowed. */
  readonly isPublic: (address: string) => boolean;
  /** Certificates that are trusted instead of the system's. */
  readonly ca?: string;
}

const world: Network = { lookup: systemLookup as LookupFunction, isPublic };

const HTTPS_PORT = 443;

/**
 * Fetches a medium from the URL in a request or in a list of media. Only hosts that the operator allows, https and
 * public IP addresses are permitted. The IP address is checked when the host name is resolved for the connection
 * itself, so that a second resolution cannot give a different address (DNS rebinding). Each redirect is checked like
 * the first URL.
 *
 * @throws FieldError for `field`: invalid_option if the URL is not allowed, too_large, invalid_media if the download
 *   fails; aborted
 */
export async function fetchMedium(
  address: string,
  field: string,
  limits: RemoteLimits,
  signal: AbortSignal,
  network: Network = world,
): Promise<Uint8Array> {
  const timeout = AbortSignal.timeout(limits.seconds * 1000);
  const both = AbortSignal.any([signal, timeout]);
  let url = checkedUrl(address, field, limits);
  try {
    for (let left = limits.redirects; ; left--) {
      const response = await get(url, both, network);
      const location = redirectOf(response);
      if (location === undefined) return await readAll(response, field, limits.maxBytes);
      response.destroy();
      if (left === 0) throw new FieldError("invalid_media", field, `more than ${limits.redirects} redirects`);
      url = checkedUrl(new URL(location, url).href, field, limits);
    }
  } catch (error) {
    if (error instanceof FieldError) throw error;
    if (error instanceof EpalmError) throw new FieldError(error.code, field, error.message, { cause: error });
    throwIfAborted(signal);
    const reason = timeout.aborted ? `the download did not finish within ${limits.seconds} s` : messageOf(error);
    throw new FieldError("invalid_media", field, `${url.host}: ${reason}`, { cause: error });
  }
}

/** Whether an IP address is public: not private, link-local, loopback, multicast or reserved. */
export function isPublic(address: string): boolean {
  return ipaddr.isValid(address) && ipaddr.process(address).range() === "unicast";
}

function checkedUrl(address: string, field: string, { hosts, refusal }: RemoteLimits): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.protocol !== "https:") throw new FieldError("invalid_option", field, "expected an https URL");
  if (url.username !== "" || url.password !== "") {
    throw new FieldError("invalid_option", field, "expected a URL without a user name");
  }
  if (hosts.includes(url.host)) return url;
  if (refusal) throw new FieldError("invalid_option", field, refusal(excerpt(url.host)));
  const allowed = hosts.length === 0 ? "URLs are disabled; send the bytes of the medium" : "is not an allowed host";
  throw new FieldError("invalid_option", field, hosts.length === 0 ? allowed : `${excerpt(url.host)}: ${allowed}`);
}

function get(url: URL, signal: AbortSignal, network: Network): Promise<IncomingMessage> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  // Node does not call `lookup` for a literal IP address.
  if (isIP(host) && !network.isPublic(host)) return Promise.reject(notPublic(url.hostname));
  const options: RequestOptions = {
    host,
    port: url.port || HTTPS_PORT,
    path: url.pathname + url.search,
    servername: isIP(host) ? "" : host,
    headers: { accept: "image/*, audio/*, video/*", "accept-encoding": "identity" },
    agent: false,
    signal,
    lookup: checkedLookup(network),
    ...(network.ca === undefined ? {} : { ca: network.ca }),
  };
  return new Promise((resolve, reject) => {
    request(options, resolve).on("error", reject).end();
  });
}

/** Resolves a host name, and fails unless all of its addresses are public. */
function checkedLookup({ lookup, isPublic }: Network): LookupFunction {
  return (host, options, callback) => {
    lookup(host, options, (error, found, family) => {
      const addresses = typeof found === "string" ? [found] : (found ?? []).map(({ address }) => address);
      const failed = error ?? (addresses.every((address) => isPublic(address)) ? null : notPublic(host));
      callback(failed, found, family);
    });
  };
}

function notPublic(host: string): NodeJS.ErrnoException {
  return new EpalmError("invalid_option", `${host}: the IP address is not public`);
}

function redirectOf({ statusCode = 0, headers }: IncomingMessage): string | undefined {
  return [301, 302, 303, 307, 308].includes(statusCode) ? headers.location : undefined;
}

async function readAll(response: IncomingMessage, field: string, maxBytes: number): Promise<Uint8Array> {
  if (response.statusCode !== 200) {
    response.destroy();
    throw new FieldError("invalid_media", field, `the host answered with status ${response.statusCode}`);
  }
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of response) {
    bytes += (piece as Buffer).length;
    if (bytes > maxBytes) {
      response.destroy();
      throw new FieldError("too_large", field, `expected at most ${maxBytes} bytes, the host sends more`);
    }
    pieces.push(piece as Buffer);
  }
  return Buffer.concat(pieces);
}
