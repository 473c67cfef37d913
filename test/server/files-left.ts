import { readdirSync } from "node:fs";

/** What a service left in its folder for temporary files. Two are ONNX Runtime's own, which comes with each process. */
export function filesLeft(temporary: string): string[] {
  return readdirSync(temporary).filter((name) => !/^(\.ses|mat-debug-\d+\.log)$/.test(name));
}
