import { dirname, resolve } from "node:path";
import { z } from "zod";
import { readYaml } from "../core/config-file.js";
import { EpalmError } from "../core/errors.js";
import { parse } from "../core/schema.js";
import { MAX_CANDIDATES, MAX_QUESTIONS } from "../wire.js";

/**
 * How the service is set up. A file (YAML or JSON) may give any key, environment variables and flags take precedence.
 * Keys that are not known are errors. docs/serving.md explains each.
 */

/** A key that can be guessed is none. */
const MIN_KEY_LENGTH = 16;

/** Above it, timers of Node fire at once. */
const MAX_SECONDS = 2_000_000;

const count = z.int().min(1);
const seconds = z.number().positive().max(MAX_SECONDS);
const modelName = z.string().regex(/^[A-Za-z0-9][\w.-]{0,99}$/, "expected letters, digits, '.', '_' and '-'");

/** `sha256:` and 64 hex digits stand for a key that the file does not tell. */
const key = z.string().refine((text) => text.length >= MIN_KEY_LENGTH, {
  error: `expected at least ${MIN_KEY_LENGTH} characters, or sha256:… of a key`,
});

/** In bytes unless they say otherwise. */
const limits = z.strictObject({
  /** Of a whole request. */
  bodyBytes: count.default(96 * 1024 * 1024),
  /** Of a picture, a sound or a video; in JSON it takes a third more. */
  mediaBytes: count.default(64 * 1024 * 1024),
  /** Of a picture: height times width, as its header states them. */
  pixels: count.default(50_000_000),
  /** Of a video's frame: height times width. */
  videoPixels: count.default(4096 * 2304),
  /** Of a video, from its first frame to its last. */
  videoSeconds: seconds.default(600),
  /** In UTF-16 units. */
  questionLength: count.max(2000).default(2000),
  questions: count.max(MAX_QUESTIONS).default(16),
  candidates: count.max(MAX_CANDIDATES).default(100),
  /** Of one text. */
  newTokens: count.max(4096).default(1024),
  /** From the first byte of a request to its last. */
  arrivalSeconds: seconds.default(30),
  /** From a request's last byte to its answer's last; the work is then given up. */
  answerSeconds: seconds.default(60),
});

const queue = z.strictObject({
  /** Requests that are worked on at the same time. */
  running: count.default(64),
  /** Requests that are whole and wait for that; one more is refused with 503. */
  waiting: z.int().min(0).default(256),
  /** Requests whose bodies are still on their way; one more is refused with 503. */
  arriving: count.default(256),
  /** Of the bodies of all of them together; more are refused with 503. */
  bytes: count.default(1024 * 1024 * 1024),
});

const remoteMedia = z.strictObject({
  /** `example.org` or `example.org:8443`, each exactly. None: addresses in requests are refused. */
  hosts: z
    .array(z.string().regex(/^[a-z0-9.-]+(:\d{1,5})?$/, "expected a host in lower case, or host:port"))
    .default([]),
  seconds: seconds.default(10),
  redirects: z.int().min(0).max(10).default(3),
});

export const serverConfigSchema = z.strictObject({
  host: z.string().min(1).default("127.0.0.1"),
  /** 0: any that is free. */
  port: z.int().min(0).max(65_535).default(8080),
  /** Model folders by the name that requests use; the first is the default. Relative paths: to the file. */
  models: z.record(modelName, z.string().min(1)).default({}),
  /** Threads that each graph computes with. Default: cores divided by models. */
  threads: count.max(1024).optional(),
  /** Compare every file of a model with its checksum before it is used. */
  checksums: z.boolean().default(true),
  /** Bearer keys by the name that logs and rate limits use. None: everybody may ask. */
  keys: z.record(modelName, key).default({}),
  /** Whether `/metrics` needs no key although there are keys. */
  openMetrics: z.boolean().default(false),
  /** Origins whose pages may call the service; `*` for all. */
  corsOrigins: z.array(z.string()).default([]),
  /** Per key, or per address where there are no keys. Default: none. */
  rateLimit: z.strictObject({ requests: count, seconds }).optional(),
  /** Whether `X-Forwarded-For` is believed: only behind a proxy that sets it. */
  trustProxy: z.boolean().default(false),
  limits: limits.prefault({}),
  queue: queue.prefault({}),
  remoteMedia: remoteMedia.prefault({}),
  /** Encoder states of media that were seen, per model, in bytes; 0: none. */
  stateCacheBytes: z
    .int()
    .min(0)
    .default(64 * 1024 * 1024),
  /** The most pictures that one run of an encoder takes. */
  encoderBatch: count.max(256).default(8),
  /** How often model folders are looked at for new adapters; 0: never. */
  watchSeconds: z.number().min(0).max(MAX_SECONDS).default(2),
  /** What runs when the service is told to end may go on for so long. */
  graceSeconds: seconds.default(30),
  logLevel: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).default("info"),
});

export type ServerConfig = z.infer<typeof serverConfigSchema>;
/** As it is written: whatever has a default may be left out. */
export type ServerSettings = z.input<typeof serverConfigSchema>;

/** Fills in defaults. @throws invalid_option, naming the key */
export function parseServerConfig(settings: unknown, where = "config"): ServerConfig {
  const config = parse(serverConfigSchema, settings, where, "invalid_option");
  const { limits, queue } = config;
  if (queue.bytes >= limits.bodyBytes) return config;
  const message = `expected at least limits.bodyBytes, ${limits.bodyBytes}, got ${queue.bytes}`;
  throw new EpalmError("invalid_option", `${where}: 'queue.bytes': ${message}`);
}

/**
 * Reads a config file as it is, without defaults; paths of models become absolute.
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

/** The config as text, without keys. */
export function describeServerConfig(config: ServerConfig): string {
  const keys = Object.fromEntries(Object.keys(config.keys).map((name) => [name, "…"]));
  return JSON.stringify({ ...config, keys });
}
