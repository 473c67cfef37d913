import { GraphRewriter } from "./graph-rewriter.js";
import { type Graph, ints, type Node } from "./ir.js";

/**
 * Replaces products of transposed matrices, an operator that WebGPU lacks, by transposes and products.
 * Gradients contain one of them for each product.
 */
export function plainProducts(graph: Graph): Graph {
  const rewriter = new GraphRewriter(graph);
  for (const node of graph.nodes) {
    if (node.op === "FusedMatMul") addPlain(rewriter, node);
    else rewriter.add(node);
  }
  return rewriter.finish();
}

function addPlain(rewriter: GraphRewriter, { name, inputs, outputs, attributes }: Node): void {
  const factors = (["transA", "transB"] as const).map((flag, index) => {
    const factor = inputs[index] ?? "";
    if (attributes[flag]?.value !== 1) return factor;
    const rank = rewriter.values.get(factor)?.shape.length ?? 0;
    const axes = Array.from({ length: rank }, (_, axis) => axis);
    const order = [...axes.slice(0, -2), rank - 1, rank - 2];
    return rewriter.emit("Transpose", [factor], `${name}/${flag}`, { perm: ints(order) });
  });
  rewriter.add({ name, op: "MatMul", domain: "", inputs: factors, outputs, attributes: {} });
}
