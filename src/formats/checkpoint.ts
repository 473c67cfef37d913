import type { TensorSource } from "../tensor/tensor.js";
import type { PickleValue } from "./pickle.js";

/** Named tensors in a public format, still in their files. */
export interface Checkpoint {
  /** The file or folder, for messages. */
  readonly path: string;
  /** In the file's order; `read` fetches just that tensor's bytes. */
  readonly tensors: ReadonlyMap<string, TensorSource>;
  /** `__metadata__` of safetensors; empty for other formats. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Torch files only: the whole unpickled object, for what stands beside the tensors (`config`, `epoch`). */
  readonly root?: PickleValue;
  /** Closes the files; sources cannot be read afterwards. May be called twice. */
  close(): void;
}
