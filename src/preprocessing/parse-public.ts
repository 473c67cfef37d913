import type { z } from "zod";
import { EpalmError, type ErrorCode } from "../core/errors.js";
import { allIssues, safeParse } from "../core/schema.js";

/** Settings of a public file in the schema's form; throws with `where`, and every key and cause. */
export function parsePublic<T extends z.ZodType>(
  schema: T,
  json: unknown,
  where: string,
  code: ErrorCode = "unsupported_architecture",
): z.infer<T> {
  const result = safeParse(schema, json);
  if (result.success) return result.data;
  throw new EpalmError(code, `${where}: ${allIssues(result.error)}`);
}
