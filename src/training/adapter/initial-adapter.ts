import {
  type Adapter,
  type AdapterSettings,
  type AdapterWidths,
  adapterShapes,
  PROMPT,
} from "../../adapter/adapter.js";
import type { Random } from "../../core/random.js";
import { elementCount, type Shape, type Tensor } from "../../tensor/tensor.js";
import { normalNumber } from "../distributions.js";

/**
 * An untrained adapter, initialised as torch does for the published one: linears uniform within ±1 / sqrt(inputs), soft
 * tokens normal with std 1.
 */
export function initialAdapter(settings: AdapterSettings, widths: AdapterWidths, random: Random): Adapter {
  const tensors = new Map<string, Tensor>();
  const table = `${PROMPT}.0.weight`;
  for (const [name, shape] of adapterShapes(settings, widths)) {
    const draw = name === table ? () => normalNumber(random) : uniformWithin(name, shape, widths, random);
    tensors.set(name, {
      type: "float32",
      shape,
      data: Float32Array.from({ length: elementCount(shape) }, draw),
    });
  }
  return { settings, tensors };
}

function uniformWithin(name: string, shape: Shape, widths: AdapterWidths, random: Random): () => number {
  const ofConnector = name.startsWith("connector.");
  const inputs = shape.length === 2 ? (shape[1] ?? 1) : ofConnector ? widths.encoder : widths.embedding;
  return () => (2 * random() - 1) / Math.sqrt(inputs);
}
