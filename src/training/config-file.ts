import { readFileSync, statSync } from "node:fs";
import { parse } from "yaml";
import type { z } from "zod";
import { EpalmError, messageOf } from "../errors.js";

/** Configs are written by hand. */
const MAX_CONFIG_BYTES = 1024 * 1024;

/**
 * Reads a YAML or JSON file that must be of the schema's form.
 *
 * @throws not_found, invalid_option with file, key and cause
 */
export function readConfigFile<Schema extends z.ZodType>(path: string, schema: Schema): z.infer<Schema> {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats?.isFile()) throw new EpalmError("not_found", `${path}: no such file`);
  if (stats.size > MAX_CONFIG_BYTES) {
    throw new EpalmError("invalid_option", `${path}: ${stats.size} bytes are more than ${MAX_CONFIG_BYTES}`);
  }
  const result = schema.safeParse(parseText(path));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new EpalmError("invalid_option", `${path}: '${issue?.path.join(".")}': ${issue?.message}`);
}

function parseText(path: string): unknown {
  try {
    return parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new EpalmError("invalid_option", `${path}: ${messageOf(error)}`, { cause: error });
  }
}
