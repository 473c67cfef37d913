import {
  type Adapter,
  type AdapterSettings,
  type AdapterWidths,
  adapterShapes,
  PROMPT,
} from "../adapter/adapter.js";
import { elementCount, type Shape, type Tensor } from "../tensor/tensor.js";

/** Numbers from 0 (included) to 1 (excluded). */
export type Uniform = () => number;

/**
 * An adapter before training, as torch initialises the published one: linears uniform within 1 / sqrt(inputs), the soft
 * tokens normal with deviation 1.
 */
export function initialAdapter(settings: AdapterSettings, widths: AdapterWidths, uniform: Uniform): Adapter {
  const tensors = new Map<string, Tensor>();
  const table = `${PROMPT}.0.weight`;
  for (const [name, shape] of adapterShapes(settings, widths)) {
    const draw = name === table ? () => normal(uniform) : uniformWithin(name, shape, widths, uniform);
    tensors.set(name, {
      type: "float32",
      shape,
      data: Float32Array.from({ length: elementCount(shape) }, draw),
    });
  }
  return { settings, tensors };
}

function uniformWithin(name: string, shape: Shape, widths: AdapterWidths, uniform: Uniform): () => number {
  const ofConnector = name.startsWith("connector.");
  const inputs = shape.length === 2 ? (shape[1] ?? 1) : ofConnector ? widths.encoder : widths.embedding;
  return () => (2 * uniform() - 1) / Math.sqrt(inputs);
}

/** Box and Muller 1958. */
function normal(uniform: Uniform): number {
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
