import type { Graph } from "../src/graph/ir.js";
import { elementCount, elementSize } from "../src/tensor/tensor.js";

/**
 * Bytes of weights that one decoding step reads from memory, whatever its batch.
 *
 * Each step multiplies with every matrix of every layer, and with the head, once for all rows, and reads all norms,
 * biases and scales: none of them stays in a cache until the next step. So every initializer of the graph counts in
 * full, but for a table of which nodes only gather rows: position embeddings, and token embeddings that are not the
 * head as well. Their few rows are nothing beside the rest.
 *
 * So, for L layers of width d with k matrix elements each and a vocabulary of V: (L k + V d) elements of 4 bytes in
 * fp32; of 1 byte in int8; in int4 of 1/2 + 4/64 byte for layers (a float32 scale per block of 64) and 1 for the head.
 */
export function weightBytesPerStep(graph: Graph): number {
  const readInFull = new Set(
    graph.nodes.flatMap(({ op, inputs }) => (op === "Gather" ? inputs.slice(1) : inputs)),
  );
  return Array.from(graph.initializers)
    .filter(([name]) => readInFull.has(name))
    .reduce((sum, [, { type, shape }]) => sum + elementCount(shape) * elementSize[type], 0);
}
