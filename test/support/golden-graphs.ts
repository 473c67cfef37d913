import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decoderGraph } from "../../src/adapter/decoder-graph.js";
import { encoderGraph } from "../../src/backbones/encoders/encoder-graph.js";
import { ParameterReader } from "../../src/backbones/parameters.js";
import { decoderArchitecture, encoderArchitecture } from "../../src/backbones/registry.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import { Weights } from "../../src/formats/weights.js";
import { EMPTY_TIME, KeyValueCache } from "../../src/generation/key-value-cache.js";
import { stepInputs } from "../../src/generation/step-inputs.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Graph } from "../../src/graph/ir.js";
import type { Tensor } from "../../src/tensor/tensor.js";

/** A graph of a golden case with its inputs and the output to compare. */
export interface GoldenRun {
  readonly graph: Graph;
  readonly feeds: Readonly<Record<string, Tensor>>;
  readonly output: string;
}

const goldens = "test/fixtures/goldens";

function openPart(name: string, part: "decoder" | "encoder") {
  const folder = join(goldens, name, part);
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as Record<string, unknown>;
  const checkpoint = openSafetensors(join(folder, "model.safetensors"));
  const architecture = String(config.model_type);
  return { config, checkpoint, architecture, g: new GraphBuilder(name) };
}

function golden(name: string, key: string): Tensor {
  const source = openSafetensors(join(goldens, name, "golden.safetensors")).tensors.get(key);
  if (!source) throw new RangeError(`${name}: golden.safetensors has no ${key}`);
  return { type: source.type, shape: source.shape, data: source.read() };
}

/** The decoder of a case with the first text of the case. */
export function goldenDecoder(name: string): GoldenRun {
  const { config, checkpoint, architecture, g } = openPart(name, "decoder");
  const { rename, build } = decoderArchitecture(architecture, name);
  const backbone = build(config, new ParameterReader(g, new Weights(checkpoint, { rename })));
  const graph = decoderGraph(g, backbone);
  const ids = golden(name, "input_ids");
  const text = Array.from(ids.data.slice(0, ids.shape[1]), Number);
  const sequence = { context: {}, text, cached: 0 };
  const { feeds } = stepInputs(
    [{ sequence, active: true, needs: { kind: "targets", tokens: text } }],
    backbone.shape,
    EMPTY_TIME,
    1,
  );
  const cache = new KeyValueCache(backbone.shape).feeds(0, 1, true);
  return { graph, feeds: { ...feeds, ...cache }, output: "logits" };
}

/** The encoder of a case with the images of the case. */
export function goldenEncoder(name: string): GoldenRun {
  const { config, checkpoint, architecture, g } = openPart(name, "encoder");
  const { rename, build } = encoderArchitecture(architecture, name);
  const backbone = build(config, new ParameterReader(g, new Weights(checkpoint, { rename })));
  return {
    graph: encoderGraph(g, backbone),
    feeds: { pixels: golden(name, "pixels") },
    output: "cls_states",
  };
}
