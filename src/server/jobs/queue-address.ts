import { EpalmError } from "../../core/errors.js";

/** How to reach a Redis server; the options of ioredis. */
export interface QueueAddress {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly username?: string;
  readonly password?: string;
  /** Present for `rediss://`. */
  readonly tls?: object;
}

const DEFAULT_PORT = 6379;

/**
 * Parses `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, or `rediss://` for TLS. Errors never quote the address, because it
 * may contain a password.
 *
 * @param where the option or the variable that contains the address, for errors
 * @throws invalid_option
 */
export function parseQueueAddress(text: string, where: string): QueueAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const [, db = "0"] = /^(?:\/(\d{1,5})?)?$/.exec(url?.pathname ?? "?") ?? [undefined, "?"];
  if (!url || !/^rediss?:$/.test(url.protocol) || url.hostname === "" || db === "?" || url.search || url.hash) {
    throw new EpalmError("invalid_option", `${where}: expected redis://HOST:PORT/DB or rediss://HOST:PORT/DB`);
  }
  return {
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: url.port === "" ? DEFAULT_PORT : Number(url.port),
    db: Number(db),
    ...(url.username ? { username: decoded(url.username, where) } : {}),
    ...(url.password ? { password: decoded(url.password, where) } : {}),
    ...(url.protocol === "rediss:" ? { tls: {} } : {}),
  };
}

function decoded(text: string, where: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new EpalmError("invalid_option", `${where}: expected a user and a password with %XX for special characters`);
  }
}

/** The address without the user and the password, for logs. */
export function describeQueueAddress({ host, port, db, tls }: QueueAddress): string {
  return `${tls ? "rediss" : "redis"}://${host.includes(":") ? `[${host}]` : host}:${port}/${db}`;
}
