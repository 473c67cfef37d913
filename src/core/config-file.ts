import { readFileSync, statSync } from "node:fs";
import { parse as parseYaml } from "yaml";
import type { z } from "zod";
import { EpalmError, fileNotFound, messageOf } from "./errors.js";
import { parse } from "./schema.js";

/** Configs are written by hand and stay far below this size. */
const MAX_CONFIG_BYTES = 1024 * 1024;

/**
 * Reads a YAML or JSON file and validates it against the schema.
 *
 * @throws `not_found`; `invalid_option` with file, key and cause
 */
export function readConfigFile<Schema extends z.ZodType>(path: string, schema: Schema): z.infer<Schema> {
  return parse(schema, readYaml(path), path, "invalid_option");
}

/** The content of a YAML or JSON file. @throws `not_found`, `invalid_option` */
export function readYaml(path: string): unknown {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats?.isFile()) throw fileNotFound(path);
  if (stats.size > MAX_CONFIG_BYTES) {
    throw new EpalmError("invalid_option", `${path}: expected at most ${MAX_CONFIG_BYTES} bytes, got ${stats.size}`);
  }
  try {
    return parseYaml(readFileSync(path, "utf8"));
  } catch (error) {
    throw new EpalmError("invalid_option", `${path}: ${messageOf(error)}`, { cause: error });
  }
}
