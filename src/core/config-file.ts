import { readFileSync, statSync } from "node:fs";
import { parse } from "yaml";
import type { z } from "zod";
import { EpalmError, messageOf } from "./errors.js";
import { firstIssue, safeParse } from "./schema.js";

/** Configs are written by hand. */
const MAX_CONFIG_BYTES = 1024 * 1024;

/**
 * Reads a YAML or JSON file that must be of the schema's form.
 *
 * @throws not_found, invalid_option with file, key and cause
 */
export function readConfigFile<Schema extends z.ZodType>(path: string, schema: Schema): z.infer<Schema> {
  return parseConfig(readYaml(path), schema, path);
}

/**
 * Settings in the schema's form, defaults filled in; `where` names them in errors.
 *
 * @throws invalid_option with key and cause
 */
export function parseConfig<Schema extends z.ZodType>(
  settings: unknown,
  schema: Schema,
  where: string,
): z.infer<Schema> {
  const result = safeParse(schema, settings);
  if (result.success) return result.data;
  throw new EpalmError("invalid_option", `${where}: ${firstIssue(result.error)}`);
}

/** What a YAML or JSON file says. @throws not_found, invalid_option */
export function readYaml(path: string): unknown {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats?.isFile()) throw new EpalmError("not_found", `${path}: no such file`);
  if (stats.size > MAX_CONFIG_BYTES) {
    throw new EpalmError("invalid_option", `${path}: ${stats.size} bytes are more than ${MAX_CONFIG_BYTES}`);
  }
  try {
    return parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new EpalmError("invalid_option", `${path}: ${messageOf(error)}`, { cause: error });
  }
}
