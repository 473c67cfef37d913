import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { z } from "zod";

/** Version of the installed ONNX Runtime, such as `1.30.0`. */
export function onnxRuntimeVersion(): string {
  const file = createRequire(import.meta.url).resolve("onnxruntime-node/package.json");
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(file, "utf8"))).version;
}
