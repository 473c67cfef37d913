import { type Adapter, type AdapterSettings, adapterShapes, PROMPT } from "../../adapter/adapter.js";
import type { AdapterWidths } from "../../adapter/adapter-widths.js";
import type { Random } from "../../core/random.js";
import { elementCount, type Shape, type Tensor } from "../../tensor/tensor.js";
import { normalNumber } from "../distributions.js";

/** Standard deviation of learned queries, as in BERT and ViT. */
const QUERY_STD = 0.02;

/**
 * An untrained adapter, initialised as torch does for the published one: linears uniform within ±1 / sqrt(inputs), soft
 * tokens normal with std 1. Norms start as the identity.
 */
export function initialAdapter(settings: AdapterSettings, widths: AdapterWidths, random: Random): Adapter {
  const tensors = new Map<string, Tensor>();
  const shapes = adapterShapes(settings, widths);
  for (const [name, shape] of shapes) {
    const draw = drawOf(name, shape, shapes, random);
    tensors.set(name, {
      type: "float32",
      shape,
      data: Float32Array.from({ length: elementCount(shape) }, draw),
    });
  }
  return { settings, tensors };
}

function drawOf(name: string, shape: Shape, shapes: ReadonlyMap<string, Shape>, random: Random): () => number {
  if (name === `${PROMPT}.0.weight`) return () => normalNumber(random);
  if (/^connector\.(queries|depths)$/.test(name)) return () => QUERY_STD * normalNumber(random);
  const [, inputs] = shapes.get(name.replace(/bias$/, "weight")) ?? shape;
  // The weight of a norm has one axis.
  if (inputs === undefined) return () => (name.endsWith(".weight") ? 1 : 0);
  return () => (2 * random() - 1) / Math.sqrt(inputs);
}
