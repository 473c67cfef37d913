import { join } from "node:path";
import { encoderGraph } from "../../src/backbones/encoder-graph.js";
import { openSafetensors } from "../../src/checkpoints/safetensors.js";
import { EpalmError } from "../../src/errors.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { preprocessingOf } from "../../src/model/encoder-preprocessing.js";
import { readEncoder } from "../../src/model/read-encoder.js";
import { openSource } from "../../src/model/source-folder.js";
import { openSession } from "../../src/runtime/session.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { type Check, closeTo, sameTokens } from "./compare.js";

/** States of an audio encoder from given features, and the size of features that its files ask for. */
export async function checkAst(folder: string): Promise<Check[]> {
  const golden = openSafetensors(join(folder, "golden.safetensors"));
  const expected = (name: string): Tensor => {
    const source = golden.tensors.get(name);
    if (!source) throw new EpalmError("not_found", `${folder}: golden.safetensors has no ${name}`);
    return { type: source.type, shape: source.shape, data: source.read() };
  };
  const path = join(folder, "encoder");
  const source = await openSource(path, path);
  try {
    const g = new GraphBuilder("encoder");
    const { backbone, weights } = readEncoder(g, source, { modality: "audio" });
    const { preprocessing } = preprocessingOf(source, backbone, "source");
    const graph = encoderGraph(g, backbone);
    weights.finish();
    const features = expected("input_values");
    const session = await openSession(encodeOnnx(graph));
    const { cls_states: states } = await session.run({ features }, ["cls_states"]);
    await session.close();
    const size = "maxLength" in preprocessing ? [preprocessing.maxLength, preprocessing.melBins] : [];
    return [
      sameTokens("size of features", size, features.shape.slice(1)),
      closeTo("states", states as Tensor, expected("states")),
    ];
  } finally {
    source.checkpoint.close();
    golden.close();
  }
}
