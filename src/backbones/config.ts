import { z } from "zod";
import { EpalmError } from "../errors.js";

/**
 * The largest size that a config may state. The widest public models stay below 300,000 (vocabularies);
 * the bound keeps a damaged file from asking for absurd memory.
 */
const MAX_COUNT = 1_000_000;

/** A size: a positive whole number. */
export const count = z.int().min(1).max(MAX_COUNT);

/**
 * Reads the known keys of a public `config.json`; keys that mean nothing here are passed over, values that
 * are not supported are refused by key (`unsupported_architecture`).
 */
export function parseConfig<T extends z.ZodType>(schema: T, json: unknown, architecture: string): z.infer<T> {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const causes = result.error.issues.map(({ path, message }) => `'${path.join(".")}': ${message}`);
  throw new EpalmError("unsupported_architecture", `${architecture} config.json: ${causes.join("; ")}`);
}
