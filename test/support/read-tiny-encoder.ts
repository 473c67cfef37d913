import type { PatchBackbone } from "../../src/backbones/backbone.js";
import { encoderGraph } from "../../src/backbones/encoders/encoder-graph.js";
import type { Checkpoint } from "../../src/formats/checkpoint.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { type EncoderChoices, readEncoder } from "../../src/model/read-encoder.js";
import type { Source } from "../../src/model/source-folder.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { type Config, statesOf } from "./tiny-backbones.js";

/** A checkpoint as if it had been read from a folder. */
export function sourceOf(checkpoint: Checkpoint, config?: Config, openClip?: Config): Source {
  return { path: "folder", folder: "folder", config, openClip, checkpoint, origin: { source: "folder" } };
}

/** The states that an encoder's graph returns; every tensor must be used or known to be unused. */
export async function encoded(source: Source, input: Tensor, choices: EncoderChoices = {}): Promise<Tensor> {
  const g = new GraphBuilder("encoder");
  const { backbone, weights } = readEncoder(g, source, choices);
  const graph = encoderGraph(g, backbone);
  weights.finish();
  return await statesOf(graph, input);
}

/** The states of all patches after the last block, [B, N, dv]. */
export async function patchesOf(source: Source, input: Tensor): Promise<Tensor> {
  const g = new GraphBuilder("encoder");
  const { backbone } = readEncoder(g, source, {});
  const value = g.input("input", "float32", ["batch", ...backbone.inputShape]);
  g.output("cls_states", (backbone as PatchBackbone).through(value).patches());
  return await statesOf(g.finish(), input);
}
