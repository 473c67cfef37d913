import { readFileSync } from "node:fs";
import { z } from "zod";

/** From `package.json`, which is three folders above the compiled file. */
export function packageVersion(): string {
  const text = readFileSync(new URL("../../../package.json", import.meta.url), "utf8");
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}
