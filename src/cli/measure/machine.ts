import { availableParallelism, cpus, totalmem } from "node:os";
import { onnxRuntimeVersion } from "../../runtime/onnx-runtime-version.js";

/** What measured times depend on, besides the model. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly node: string;
  readonly onnxruntime: string;
}

/** The machine that this runs on. */
export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    node: process.version,
    onnxruntime: onnxRuntimeVersion(),
  };
}
