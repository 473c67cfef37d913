import { dirname, resolve } from "node:path";
import ipaddr from "ipaddr.js";
import { z } from "zod";
import { deviceChoices } from "../core/device.js";
import { MAX_THREADS } from "../core/environment.js";
import { EpalmError } from "../core/errors.js";
import { readYaml } from "../core/files/config-file.js";
import { parse } from "../core/schema.js";
import { chatSettings } from "../model/manifest.js";
import { ABSTENTION } from "../pipeline.js";
import { MAX_CANDIDATES, MAX_QUESTIONS } from "../wire.js";

/**
 * The config of the service. A file (YAML or JSON) may set any key; environment variables and flags take precedence.
 * Unknown keys are errors. docs/serving.md explains each key.
 */

/** Shorter keys could be guessed. */
const MIN_KEY_LENGTH = 16;

/** Timers of Node with a longer delay fire immediately. */
const MAX_SECONDS = 2_000_000;

/** In UTF-16 units. */
const MAX_ABSTENTION = 1000;

const count = z.int().min(1);
const seconds = z.number().positive().max(MAX_SECONDS);
const modelName = z.string().regex(/^[A-Za-z0-9][\w.-]{0,99}$/, "expected ASCII letters, digits, '.', '_' and '-'");

/** `sha256:` and 64 hex digits are the digest of a key, so that the file need not contain the key itself. */
const key = z.string().refine((text) => text.length >= MIN_KEY_LENGTH, {
  error: `expected at least ${MIN_KEY_LENGTH} characters, or sha256:… of a key`,
});

/** Names of ranges of addresses that fastify knows: of this machine, its links and private networks. */
const namedRanges = ["loopback", "linklocal", "uniquelocal"];

const addresses = z.string().refine((text) => namedRanges.includes(text) || isAddressRange(text), {
  error: `expected an IP address, a range such as 10.0.0.0/8, or ${namedRanges.join(", ")}`,
});

/** More proxies in a row are certainly a mistake. */
const MAX_PROXIES = 16;

/** `true` would trust every address in the header, including those that the client wrote itself. */
const trustProxy = z.union([z.literal(false), z.int().min(1).max(MAX_PROXIES), z.array(addresses).min(1)], {
  error: (issue) =>
    `expected false, the number of proxies in front of the service (such as 1) or a list of their addresses (such as ["10.0.0.0/8"])${
      issue.input === true ? "; true would let every client choose its own address" : ""
    }`,
});

const device = z.enum(deviceChoices);

/** Limits per request. */
const limits = z.strictObject({
  /** Bytes of a request body. */
  bodyBytes: count.default(96 * 1024 * 1024),
  /** Bytes of a medium. As base64 in JSON, it takes a third more of the body. */
  mediaBytes: count.default(64 * 1024 * 1024),
  /**
   * Bytes of temporary files of all requests together: media that ffmpeg cannot read from a pipe. Default: four times
   * `mediaBytes`.
   */
  temporaryBytes: count.optional(),
  /** Height times width of an image, according to its header. */
  pixels: count.default(50_000_000),
  /** Height times width of a video frame. */
  videoPixels: count.default(4096 * 2304),
  /** Duration of a video, from its first frame to its last. */
  videoSeconds: seconds.default(600),
  /** Length of a question or a candidate, in UTF-16 units. */
  questionLength: count.max(2000).default(2000),
  questions: count.max(MAX_QUESTIONS).default(16),
  candidates: count.max(MAX_CANDIDATES).default(100),
  /** Tokens per generated text. */
  newTokens: count.max(4096).default(1024),
  /**
   * Cost of a request in tokens: for each question, those of the prompt, plus sequences (`beams`, `n` or candidates)
   * times tokens per sequence.
   */
  requestCost: count.default(16_384),
  /** Mean rate at which a body must arrive after the grace time; slower requests get 408. 0 disables the check. */
  arrivalBytesPerSecond: z.int().min(0).default(1000),
  /** How long after its header a body may arrive at any rate. */
  arrivalGraceSeconds: seconds.default(5),
  /** From the first byte of a request to its last byte. */
  arrivalSeconds: seconds.default(30),
  /** From the last byte of a request to the last byte of its answer; then the request is cancelled. */
  answerSeconds: seconds.default(60),
});

/** Each limit except `connections` is shared by all clients; one client gets at most three quarters of it. */
const queue = z.strictObject({
  /** Open connections per address; further ones are closed. */
  connections: count.default(1024),
  /** Requests that are processed at the same time. */
  running: count.default(64),
  /** Requests that are complete and waiting; further ones are rejected with 503. */
  waiting: z.int().min(0).default(256),
  /** Requests whose bodies are still arriving; further ones are rejected with 503. */
  arriving: count.default(256),
  /** Total bytes of the bodies of all these requests; requests above the limit are rejected with 503. */
  bytes: count.default(1024 * 1024 * 1024),
});

/** From which hosts, and within which limits, media are fetched. */
export const remoteMedia = z.strictObject({
  /** `example.org` or `example.org:8443`, matched exactly. Empty: URLs in requests are rejected. */
  hosts: z.array(z.string().regex(/^[a-z0-9.-]+(:\d{1,5})?$/, "expected a lower-case host, or host:port")).default([]),
  seconds: seconds.default(10),
  redirects: z.int().min(0).max(10).default(3),
});

export const serverConfigSchema = z.strictObject({
  host: z.string().min(1).default("127.0.0.1"),
  /** 0 selects any free port. */
  port: z.int().min(0).max(65_535).default(8080),
  /** Model folders by the name that requests use; the first is the default. Paths are relative to the config file. */
  models: z.record(modelName, z.string().min(1)).default({}),
  /** Per model: the prompts that request a caption; in place of those of the manifest. */
  chat: z.record(modelName, chatSettings).default({}),
  /** Threads per graph. Default: number of cores divided by number of models. */
  threads: count.max(MAX_THREADS).optional(),
  /** Where the encoders and the decoders of all models are computed, or each of the two. */
  device: z.union([device, z.strictObject({ encoder: device.optional(), decoder: device.optional() })]).optional(),
  /** Verify the checksum of every file of a model before it is used. */
  checksums: z.boolean().default(true),
  /** Bearer keys by the name that logs and rate limits use. Empty: requests need no key. */
  keys: z.record(modelName, key).default({}),
  /** Serve `/metrics` without a key even if there are keys. */
  openMetrics: z.boolean().default(false),
  /** Origins whose pages may call the service; `*` allows all. */
  corsOrigins: z.array(z.string()).default([]),
  /** Limit per key, or per IP address without keys. Default: none. */
  rateLimit: z.strictObject({ requests: count, seconds }).optional(),
  /** Proxies whose header `X-Forwarded-For` is trusted: how many there are, or their addresses. */
  trustProxy: trustProxy.default(false),
  limits: limits.prefault({}),
  queue: queue.prefault({}),
  remoteMedia: remoteMedia.prefault({}),
  /** Size of the cache of encoder states per model, in bytes; 0 disables it. */
  stateCacheBytes: z
    .int()
    .min(0)
    .default(64 * 1024 * 1024),
  /** Maximum number of images per run of an encoder. */
  encoderBatch: count.max(256).default(8),
  /** Reject media that are unlike those of the adapter's training with 422, as if every request asked for it. */
  refuseUnfamiliar: z.boolean().default(false),
  /** Smallest confidence of answers to questions, for requests that set none. Default: all answers are given. */
  minConfidence: z.number().min(0).max(1).optional(),
  /** The text in place of answers whose confidence is too small. */
  abstention: z.string().min(1).max(MAX_ABSTENTION).default(ABSTENTION),
  /** Interval at which model folders are checked for new adapters; 0 disables the checks. */
  watchSeconds: z.number().min(0).max(MAX_SECONDS).default(2),
  /** How long running requests may continue when the service stops. */
  graceSeconds: seconds.default(30),
  logLevel: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).default("info"),
});

export type ServerConfig = z.infer<typeof serverConfigSchema>;
/** The config as it is written: keys with a default are optional. */
export type ServerSettings = z.input<typeof serverConfigSchema>;

function isAddressRange(text: string): boolean {
  return ipaddr.isValid(text) || ipaddr.isValidCIDR(text);
}

/** Validates a config and fills in the defaults. @throws invalid_option, naming the key */
export function parseServerConfig(settings: unknown, where = "config"): ServerConfig {
  const config = parse(serverConfigSchema, settings, where, "invalid_option");
  const { limits, queue } = config;
  const atLeast = (name: string, bytes: number, other: "bodyBytes" | "mediaBytes") => {
    if (bytes >= limits[other]) return;
    const message = `expected at least limits.${other}, ${limits[other]}, got ${bytes}`;
    throw new EpalmError("invalid_option", `${where}: '${name}': ${message}`);
  };
  atLeast("queue.bytes", queue.bytes, "bodyBytes");
  atLeast("limits.temporaryBytes", temporaryBytes(config), "mediaBytes");
  return config;
}

/** The limit on all temporary files together, in bytes. */
export function temporaryBytes({ limits }: ServerConfig): number {
  return limits.temporaryBytes ?? 4 * limits.mediaBytes;
}

/**
 * Reads a config file without filling in defaults; paths of models become absolute.
 *
 * @throws not_found, invalid_option naming file and key
 */
export function readServerSettings(path: string): ServerSettings {
  const settings = readYaml(path) ?? {};
  parseServerConfig(settings, path);
  const given = settings as ServerSettings;
  if (!given.models) return given;
  const models = Object.entries(given.models).map(([name, folder]) => [name, resolve(dirname(path), folder)]);
  return { ...given, models: Object.fromEntries(models) };
}

/** The config as JSON for the log, with the keys masked. */
export function describeServerConfig(config: ServerConfig): string {
  const keys = Object.fromEntries(Object.keys(config.keys).map((name) => [name, "…"]));
  return JSON.stringify({ ...config, keys });
}
