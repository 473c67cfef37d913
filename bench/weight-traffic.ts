import type { Graph } from "../src/graph/ir.js";
import { elementCount, elementSize } from "../src/tensor/tensor.js";

/**
 * Bytes of weights that one decoding step reads from memory, for any batch size.
 *
 * Each step multiplies with all matrices of all layers and with the output head once for all sequences, and reads all
 * norms, biases and scales. None of them remains in a cache until the next step. Every initializer of the graph
 * therefore counts in full, except for tables of which nodes only gather rows: position embeddings, and token
 * embeddings that are not tied to the head. Their few rows are negligible.
 *
 * For L layers of width d with k matrix elements each and a vocabulary of V, this is (L k + V d) elements of 4 bytes
 * in fp32 or 1 byte in int8. In int4, elements of layers have 1/2 + 4/64 byte (a float32 scale per block of 64), and
 * those of the head 1 byte.
 */
export function weightBytesPerStep(graph: Graph): number {
  const readInFull = new Set(graph.nodes.flatMap(({ op, inputs }) => (op === "Gather" ? inputs.slice(1) : inputs)));
  return Array.from(graph.initializers)
    .filter(([name]) => readInFull.has(name))
    .reduce((sum, [, { type, shape }]) => sum + elementCount(shape) * elementSize[type], 0);
}
