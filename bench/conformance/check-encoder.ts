import type { PatchBackbone } from "../../src/backbones/backbone.js";
import { encoderGraph } from "../../src/backbones/encoders/encoder-graph.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Graph } from "../../src/graph/ir.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { architectureOf, type EncoderChoices, readEncoder } from "../../src/model/read-encoder.js";
import { openSource, type Source } from "../../src/model/source-folder.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { type Check, closeTo } from "./compare.js";
import { type Golden, openGolden } from "./golden.js";
import { openSession } from "./open-session.js";

/**
 * Compares an encoder in its public form with transformers: its states for `pixels` or `features`, also with other
 * poolings and of single patches, if the file has them. A suffix of the names tells for which size or how many frames
 * the encoder is built: `pixels_28` and `states_28`, `pixels_5_frames` and `states_5_frames`.
 */
export async function checkEncoder(folder: string): Promise<Check[]> {
  const golden = openGolden(folder);
  const source = await openSource(folder, folder);
  try {
    const checks: Check[] = [];
    for (const name of golden.names) {
      const [, input = "", suffix = ""] = /^(pixels|features)(_\d+(?:_frames)?)?$/.exec(name) ?? [];
      if (input !== "") checks.push(...(await checkInput(source, golden, input, suffix)));
    }
    return checks;
  } finally {
    source.checkpoint.close();
    golden.close();
  }
}

/** What the file of expected results can contain besides `states`, and the pooling that gives it. */
const poolings = [
  ["means", "mean"],
  ["pooled", "attention"],
] as const;

async function checkInput(source: Source, golden: Golden, input: string, suffix: string): Promise<Check[]> {
  const feed = golden.tensor(input + suffix);
  const choices = choicesOf(suffix);
  const checks: Check[] = [];
  const compare = async (name: string, output: string, graph: Graph) => {
    if (!golden.has(name)) return;
    checks.push(closeTo(name, await run(graph, feed, output), golden.tensor(name)));
  };
  const { poolings: allowed = [] } = architectureOf(source);
  // Also where the mean is the default, as for a ViT-MAE.
  const pooling = allowed.includes("cls") ? "cls" : undefined;
  await compare(`states${suffix}`, "cls_states", statesGraph(source, { ...choices, pooling }));
  for (const [name, other] of poolings) {
    if (allowed.includes(other) && golden.has(name + suffix)) {
      await compare(name + suffix, "cls_states", statesGraph(source, { ...choices, pooling: other }));
    }
  }
  if (golden.has(`patches${suffix}`)) await compare(`patches${suffix}`, "patches", patchesGraph(source, choices));
  return checks;
}

function choicesOf(suffix: string): EncoderChoices {
  const number = Number(/\d+/.exec(suffix)?.[0]);
  if (suffix === "") return {};
  return suffix.endsWith("_frames") ? { modality: "video", frames: number } : { imageSize: number };
}

function statesGraph(source: Source, choices: EncoderChoices): Graph {
  const g = new GraphBuilder("encoder");
  const { backbone, weights } = readEncoder(g, source, choices);
  const graph = encoderGraph(g, backbone);
  weights.finish();
  return graph;
}

/** The states of all patches after the last block, [B, N, dv]. */
function patchesGraph(source: Source, choices: EncoderChoices): Graph {
  const g = new GraphBuilder("encoder");
  const { backbone } = readEncoder(g, source, choices);
  const value = g.input("input", "float32", ["batch", ...backbone.inputShape]);
  g.output("patches", (backbone as PatchBackbone).through(value).patches());
  return g.finish();
}

async function run(graph: Graph, feed: Tensor, output: string): Promise<Tensor> {
  const [{ name } = { name: "" }] = graph.inputs;
  const session = await openSession(encodeOnnx(graph), { threads: 1 });
  const results = await session.run({ [name]: feed }, [output]);
  await session.close();
  return results[output] as Tensor;
}
