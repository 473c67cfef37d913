import { join } from "node:path";
import { encoderGraph } from "../../src/backbones/encoders/encoder-graph.js";
import { EpalmError } from "../../src/core/errors.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { logMel } from "../../src/media/decode/audio/log-mel.js";
import { preprocessingOf } from "../../src/model/encoder-preprocessing.js";
import { readEncoder } from "../../src/model/read-encoder.js";
import { openSource } from "../../src/model/source-folder.js";
import { SAMPLING_RATE } from "../../src/preprocessing/sampling-rate.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { type Check, closeTo } from "./compare.js";
import { openGolden } from "./golden.js";
import { openSession } from "./open-session.js";

/**
 * Compares the features of a waveform, with the settings in the encoder's files, and the states from these features.
 */
export async function checkAst(folder: string): Promise<Check[]> {
  const golden = openGolden(folder);
  const path = join(folder, "encoder");
  const source = await openSource(path, path);
  try {
    const g = new GraphBuilder("encoder");
    const { backbone, weights } = readEncoder(g, source, { modality: "audio" });
    const preparation = preprocessingOf(source, backbone, "source");
    if (preparation.modality !== "audio") throw new EpalmError("internal", `${path}: is not an audio encoder`);
    const graph = encoderGraph(g, backbone);
    weights.finish();
    const features = golden.tensor("input_values");
    const session = await openSession(encodeOnnx(graph));
    const { cls_states: states } = await session.run({ features }, ["cls_states"]);
    await session.close();
    const data = golden.tensor("waveform").data as Float32Array;
    const heard = await logMel({ data, sampleRate: SAMPLING_RATE }, preparation.preprocessing);
    const { maxLength, melBins } = preparation.preprocessing;
    return [
      closeTo("features of the waveform", { type: "float32", shape: [1, maxLength, melBins], data: heard }, features),
      closeTo("states", states as Tensor, golden.tensor("states")),
    ];
  } finally {
    source.checkpoint.close();
    golden.close();
  }
}
