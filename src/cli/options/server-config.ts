import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { type Environment, environmentInteger } from "../../core/environment.js";
import { EpalmError } from "../../core/errors.js";
import { BUNDLED_MODEL } from "../../model/bundled-model.js";
import { MANIFEST_FILE } from "../../model/manifest.js";
import { defaultDevice } from "../../model/place-model.js";
import { parseServerConfig, readServerSettings, type ServerConfig } from "../../server/config.js";
import { chosenDevices, type DeviceFlags } from "./device-options.js";

/** The flags of commands that answer requests as the service does. */
export interface ServedModelFlags extends DeviceFlags {
  readonly model?: string[];
  readonly config?: string;
  readonly threads?: number;
  readonly refuseUnfamiliar?: true;
}

interface ListenFlags {
  readonly host?: string;
  readonly port?: number;
}

/** Flags take precedence over the environment, the environment over the file, and the file over the defaults. */
export function serverConfig(
  flags: ServedModelFlags & ListenFlags,
  { server: environment, threads, device }: Environment,
  command: string,
): ServerConfig {
  const file = flags.config ?? environment.config;
  const settings = file === undefined ? {} : readServerSettings(file);
  const models = flags.model ?? environment.models;
  const given = {
    ...settings,
    ...(models ? { models: modelFolders(models) } : {}),
    ...definedOnly({
      host: flags.host ?? environment.host,
      port: flags.port ?? environmentInteger("EPALM_PORT", environment.port),
      threads: flags.threads ?? environmentInteger("EPALM_THREADS", threads),
      device: devicesOf(flags, device, settings.device),
      refuseUnfamiliar: flags.refuseUnfamiliar,
      logLevel: environment.logLevel,
      keys: environment.keys && Object.fromEntries(environment.keys.map((pair) => split(pair, "EPALM_API_KEYS"))),
    }),
  };
  const config = parseServerConfig(given, command);
  return Object.keys(config.models).length > 0 ? config : { ...config, models: bundledModel() };
}

/** The device of each graph, which is that of its flag, of `EPALM_DEVICE` or of the config. */
function devicesOf(flags: DeviceFlags, device: string | undefined, configured: ServerConfig["device"]) {
  const chosen = chosenDevices(flags);
  const given = device === undefined ? configured : defaultDevice();
  const { encoder, decoder } = typeof given === "object" ? given : { encoder: given, decoder: given };
  return { encoder: chosen.encoder ?? encoder, decoder: chosen.decoder ?? decoder };
}

function bundledModel(): Record<string, string> {
  if (existsSync(join(BUNDLED_MODEL, MANIFEST_FILE))) return { default: BUNDLED_MODEL };
  throw new EpalmError(
    "invalid_option",
    "--model: expected a model folder; this installation does not include the default model",
  );
}

/** Parses `NAME=DIR` or `DIR`; the latter is named after the last part of the path. */
function modelFolders(texts: readonly string[]): Record<string, string> {
  const folders = new Map<string, string>();
  for (const text of texts) {
    const [name, folder] = /^[\w.-]+=/.test(text) ? split(text, "--model") : [basename(resolve(text)), text];
    if (folders.has(name))
      throw new EpalmError("invalid_option", `--model: expected a different name for each model, got '${name}' twice`);
    folders.set(name, folder);
  }
  return Object.fromEntries(folders);
}

function split(pair: string, where: string): [string, string] {
  const at = pair.indexOf("=");
  if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)];
  throw new EpalmError("invalid_option", `${where}: expected NAME=VALUE`);
}

function definedOnly<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}
