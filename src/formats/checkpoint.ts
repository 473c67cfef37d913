import type { TensorSource } from "../tensor/tensor.js";
import type { PickleValue } from "./pickle.js";

/** Named tensors in a public format, whose data stays in files. */
export interface Checkpoint {
  /** The file or folder, for messages. */
  readonly path: string;
  /** In the file's order; `read` loads the bytes of that tensor only. */
  readonly tensors: ReadonlyMap<string, TensorSource>;
  /** Tensors that cannot be read, by name, with the kind of tensor: `a sparse tensor`. Only torch files have some. */
  readonly unsupported?: ReadonlyMap<string, string>;
  /** `__metadata__` of safetensors; empty for other formats. */
  readonly metadata: Readonly<Record<string, string>>;
  /** For torch files, the whole unpickled object, including values beside the tensors (`config`, `epoch`). */
  readonly root?: PickleValue;
  /** Closes the files; the sources cannot be read afterwards. Can be called repeatedly. */
  close(): void;
}

/** Limits on what a file may contain, for files that are opened on an event loop that has to stay responsive. */
export interface OpenLimits {
  /** Default: the limits of the format. */
  readonly maxTensors?: number | undefined;
}
