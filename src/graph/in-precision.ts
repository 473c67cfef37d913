import type { Precision } from "../core/precision.js";
import { halfPrecision } from "./half-precision.js";
import type { Graph } from "./ir.js";
import { quantizeGraph } from "./quantize.js";

/**
 * A float32 graph in another precision. Its inputs and outputs stay float32.
 *
 * @param options see `QuantizationOptions`
 */
export function inPrecision(
  graph: Graph,
  precision: Precision,
  options: { readonly reduceRange?: boolean | undefined } = {},
): Graph {
  switch (precision) {
    case "fp32":
      return graph;
    case "fp16":
      return halfPrecision(graph);
    case "int8":
    case "int4":
    case "int4-fp32":
      return quantizeGraph(graph, { precision, ...options });
    case "int4-fp16":
      return halfPrecision(quantizeGraph(graph, { precision: "int4-fp32", ...options }));
    default:
      return precision satisfies never;
  }
}
