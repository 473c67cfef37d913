import { Weights } from "../formats/weights.js";
import { constantSource, type Tensor } from "../tensor/tensor.js";

/** Makes tensors in memory available to a backbone; `where` names them in errors. */
export function weightsInMemory(tensors: ReadonlyMap<string, Tensor>, where: string): Weights {
  const sources = Array.from(
    tensors,
    ([name, { shape, data }]) => [name, constantSource("float32", shape, data)] as const,
  );
  return new Weights({ path: where, tensors: new Map(sources), metadata: {}, close: () => undefined });
}
