import type { z } from "zod";
import { EpalmError, type ErrorCode } from "../errors.js";

/** Settings of a public file in the schema's form; throws with `where`, and every key and cause. */
export function parsePublic<T extends z.ZodType>(
  schema: T,
  json: unknown,
  where: string,
  code: ErrorCode = "unsupported_architecture",
): z.infer<T> {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const causes = result.error.issues.map(({ path, message }) =>
    path.length > 0 ? `'${path.join(".")}': ${message}` : message,
  );
  throw new EpalmError(code, `${where}: ${causes.join("; ")}`);
}
