import type { GraphBuilder } from "../graph/builder.js";
import type { Graph } from "../graph/ir.js";
import type { EncoderBackbone } from "./backbone.js";

/** `pixels` [batch, 3, height, width] -> `cls_states` [batch, depth, dv]; first block first, each normed. */
export function encoderGraph(g: GraphBuilder, backbone: EncoderBackbone): Graph {
  const input = g.input("pixels", "float32", ["batch", ...backbone.inputShape]);
  g.output("cls_states", backbone.states(input));
  return g.finish();
}
