import { join } from "node:path";
import { EpalmError } from "../../src/core/errors.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import type { Tensor } from "../../src/tensor/tensor.js";

/** The results of a reference implementation, in `golden.safetensors`. */
export interface Golden {
  readonly names: readonly string[];
  has(name: string): boolean;
  /** @throws not_found */
  tensor(name: string): Tensor;
  close(): void;
}

export function openGolden(folder: string): Golden {
  const path = join(folder, "golden.safetensors");
  const { tensors, close } = openSafetensors(path);
  return {
    names: Array.from(tensors.keys()),
    has: (name) => tensors.has(name),
    tensor(name) {
      const source = tensors.get(name);
      if (!source) throw new EpalmError("not_found", `${path}: has no ${name}`);
      return { type: source.type, shape: source.shape, data: source.read() };
    },
    close,
  };
}
