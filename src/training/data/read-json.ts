import { constants } from "node:buffer";
import { readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import type { z } from "zod";
import { EpalmError, messageOf } from "../../core/errors.js";
import { allIssues, safeParse } from "../../core/schema.js";

/** In bytes: the longest string of V8. The largest public file, VQA v2's training annotations, has 390 MB. */
const MAX_JSON_BYTES = constants.MAX_STRING_LENGTH;

/**
 * Reads a JSON file into memory and checks it against a schema.
 *
 * @throws invalid_data, too_large
 */
export async function readJson<T extends z.ZodType>(path: string, schema: T): Promise<z.infer<T>> {
  const { size } = await stat(path);
  if (size > MAX_JSON_BYTES) {
    throw new EpalmError("too_large", `${path}: expected at most ${MAX_JSON_BYTES} bytes, got ${size}`);
  }
  const { data, error } = safeParse(schema, parse(path));
  if (error) throw new EpalmError("invalid_data", `${path}: ${allIssues(error)}`);
  return data;
}

function parse(path: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path)));
  } catch (error) {
    throw new EpalmError("invalid_data", `${path}: is not JSON: ${messageOf(error)}`);
  }
}
