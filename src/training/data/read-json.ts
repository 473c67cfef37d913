import { constants } from "node:buffer";
import { readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import type { z } from "zod";
import { tooManyBytes } from "../../core/errors.js";
import { parseJson } from "../../core/json.js";
import { parse } from "../../core/schema.js";

/** In bytes: the longest string of V8. The largest public file, VQA v2's training annotations, has 390 MB. */
const MAX_JSON_BYTES = constants.MAX_STRING_LENGTH;

/**
 * Reads a JSON file into memory and checks it against a schema.
 *
 * @throws invalid_data, too_large
 */
export async function readJson<T extends z.ZodType>(path: string, schema: T): Promise<z.infer<T>> {
  const { size } = await stat(path);
  if (size > MAX_JSON_BYTES) throw tooManyBytes(path, MAX_JSON_BYTES, size);
  return parse(schema, parseJson(readFileSync(path), path, "invalid_data"), path, "invalid_data");
}
