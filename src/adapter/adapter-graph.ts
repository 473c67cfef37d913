import { GraphBuilder } from "../graph/builder.js";
import type { Graph } from "../graph/ir.js";
import { constantSource } from "../tensor/tensor.js";
import { type Adapter, type AdapterWidths, perception, softPrompt } from "./adapter.js";

/**
 * The graph of one adapter, small enough to keep in memory: `cls_states` [batch, depth, dv] -> `perception` [batch,
 * K, d] and `soft_prompt` [P, E].
 */
export function adapterGraph({ settings, tensors }: Adapter, widths: AdapterWidths, depth: number): Graph {
  const g = new GraphBuilder("adapter");
  const states = g.input("cls_states", "float32", ["batch", depth, widths.encoder]);
  const values = (name: string) => {
    const tensor = tensors.get(name);
    // `checkAdapter` rejects missing tensors. With an empty source, the shape rules would name the tensor.
    return g.weight(name, constantSource("float32", tensor?.shape ?? [], (tensor?.data ?? new Float32Array()).slice()));
  };
  g.output("perception", perception(g, states, values, settings));
  g.output("soft_prompt", softPrompt(g, values, settings));
  return g.finish();
}
