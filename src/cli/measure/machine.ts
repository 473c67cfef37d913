import { availableParallelism, cpus, totalmem } from "node:os";
import { onnxRuntimeVersion } from "../../runtime/onnx-runtime-version.js";

/** Properties of the machine on which measured times depend. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly node: string;
  readonly onnxruntime: string;
}

/** Describes the machine that runs this process. */
export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    node: process.version,
    onnxruntime: onnxRuntimeVersion(),
  };
}
