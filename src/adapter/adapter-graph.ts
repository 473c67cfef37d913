import { GraphBuilder } from "../graph/builder.js";
import type { Graph } from "../graph/ir.js";
import { constantSource } from "../tensor/tensor.js";
import { type Adapter, perception, softPrompt } from "./adapter.js";
import type { AdapterWidths } from "./adapter-widths.js";
import { patchDepths, visualTokens } from "./visual-connector.js";

/**
 * The graph of one adapter, small enough to keep in memory: `cls_states` [batch, depth, dv] -> `perception` [batch,
 * K, d], or `patch_states` [batch, D, N, dv] -> `visual_tokens` [batch, n, E]; and `soft_prompt` [P, E], unless P is 0.
 */
export function adapterGraph({ settings, tensors }: Adapter, widths: AdapterWidths, depth: number): Graph {
  const g = new GraphBuilder("adapter");
  const values = (name: string) => {
    const tensor = tensors.get(name);
    // `checkAdapter` rejects missing tensors. With an empty source, the shape rules would name the tensor.
    return g.weight(name, constantSource("float32", tensor?.shape ?? [], (tensor?.data ?? new Float32Array()).slice()));
  };
  if (settings.connector) {
    const { connector } = settings;
    const { frames = 0, rows = 0, columns = 0 } = widths.patches ?? {};
    const shape = ["batch", patchDepths(connector), frames * rows * columns, widths.encoder];
    const states = g.input("patch_states", "float32", shape);
    g.output("visual_tokens", visualTokens(g, states, values, connector, widths));
  } else {
    const states = g.input("cls_states", "float32", ["batch", depth, widths.encoder]);
    g.output("perception", perception(g, states, values, settings));
  }
  const prompt = softPrompt(g, values, settings);
  if (prompt) g.output("soft_prompt", prompt);
  return g.finish();
}
