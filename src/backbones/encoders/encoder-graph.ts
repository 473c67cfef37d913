import type { Modality } from "../../core/modality.js";
import type { GraphBuilder } from "../../graph/builder.js";
import type { Graph } from "../../graph/ir.js";
import type { EncoderBackbone } from "../backbone.js";

/** Name of an encoder graph's input for each modality. */
export const encoderInputs = {
  /** [batch, 3, height, width] */
  image: "pixels",
  /** [batch, frames, mel bins] */
  audio: "features",
  /** [batch, frames, 3, height, width] */
  video: "pixels",
} as const satisfies Readonly<Record<Modality, string>>;

/** The input of the encoder's modality -> `cls_states` [batch, depth, dv], first block first, after the final norm. */
export function encoderGraph(g: GraphBuilder, backbone: EncoderBackbone): Graph {
  const input = g.input(encoderInputs[backbone.modality], "float32", ["batch", ...backbone.inputShape]);
  g.output("cls_states", backbone.states(input));
  return g.finish();
}
