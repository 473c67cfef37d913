import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { encoderGraph } from "../src/backbones/encoders/encoder-graph.js";
import { openSafetensors } from "../src/formats/safetensors.js";
import { GraphBuilder } from "../src/graph/builder.js";
import { quantizeGraph } from "../src/graph/quantize.js";
import { readEncoder } from "../src/model/read-encoder.js";
import type { Tensor } from "../src/tensor/tensor.js";
import { sourceOf } from "../test/support/read-tiny-encoder.js";
import { buildDecoder, golden, logitsOf, openWeights, readConfig, statesOf } from "../test/support/tiny-backbones.js";
import type { Measurement } from "./measurement.js";
import type { Table } from "./table.js";

const FIXTURES = "test/fixtures/backbones";
const precisions = ["int8", "int4"] as const;

/** Compares each tiny random checkpoint of the tests in int8 and int4 with itself in fp32. */
export const precision: Measurement = {
  summary: "what int8 and int4 change in the tests' tiny checkpoints of all architectures",
  async run() {
    const [encoders, decoders] = [[], []] as [Table["rows"][number][], Table["rows"][number][]];
    for (const name of readdirSync(FIXTURES).sort()) {
      if (!existsSync(join(FIXTURES, name, "config.json"))) continue;
      const input = inputOf(name);
      if (input === "input_ids") decoders.push(await decoderRow(name));
      else if (input) encoders.push(await encoderRow(name, input));
    }
    return [
      {
        title: "encoders: lowest cosine similarity of a state with that in fp32, over all blocks",
        columns: [{ key: "name", title: "checkpoint" }, ...precisions.map((key) => ({ key, title: key, digits: 4 }))],
        rows: encoders,
      },
      {
        title: "decoders: cosine similarity of all logits with those in fp32, and mean difference of a log-probability",
        columns: [
          { key: "name", title: "checkpoint" },
          ...precisions.flatMap((key) => [
            { key, title: `${key}, cosine`, digits: 4 },
            { key: `${key} difference`, title: "difference", digits: 3 },
          ]),
        ],
        rows: decoders,
        notes: ["the log-probability is that of the token that is most probable in fp32"],
      },
    ];
  },
};

/** The name of a checkpoint's input among its expected results, with the size for which its positions were made. */
function inputOf(name: string): string | undefined {
  const { tensors } = openSafetensors(join(FIXTURES, name, "golden.safetensors"));
  return Array.from(tensors.keys()).find((key) => /^(input_ids|features|pixels(_\d+)?)$/.test(key) && fits(name, key));
}

/** Encoders that can be built for several sizes are compared at the size of their config. */
function fits(name: string, key: string): boolean {
  const size = /\d+$/.exec(key)?.[0];
  return size === undefined || readConfig(name).image_size === Number(size);
}

async function encoderRow(name: string, input: string): Promise<Table["rows"][number]> {
  const g = new GraphBuilder("encoder");
  const graph = encoderGraph(g, readEncoder(g, sourceOf(openWeights(name), readConfig(name)), {}).backbone);
  const exact = vectorsOf(await statesOf(graph, golden(name, input)));
  const row: Record<string, number | string> = { name };
  for (const key of precisions) {
    const found = vectorsOf(await statesOf(quantizeGraph(graph, { precision: key }), golden(name, input)));
    row[key] = Math.min(...exact.map((vector, index) => cosine(vector, found[index] ?? [])));
  }
  return row;
}

async function decoderRow(name: string): Promise<Table["rows"][number]> {
  const built = buildDecoder(openWeights(name), readConfig(name));
  const exact = vectorsOf(await logitsOf(built, golden(name, "input_ids")));
  const row: Record<string, number | string> = { name };
  for (const key of precisions) {
    const graph = quantizeGraph(built.graph, { precision: key });
    const found = vectorsOf(await logitsOf({ ...built, graph }, golden(name, "input_ids")));
    row[key] = cosine(exact.flat(), found.flat());
    const differences = exact.map((vector, index) => {
      const best = vector.indexOf(Math.max(...vector));
      return Math.abs(logProbability(vector, best) - logProbability(found[index] ?? [], best));
    });
    row[`${key} difference`] = differences.reduce((sum, value) => sum + value, 0) / differences.length;
  }
  return row;
}

/** The vectors along the last axis. */
function vectorsOf({ shape, data }: Tensor): number[][] {
  const width = shape.at(-1) ?? 1;
  const numbers = Array.from(data, Number);
  return Array.from({ length: numbers.length / width }, (_, row) => numbers.slice(row * width, (row + 1) * width));
}

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, value, index) => sum + value * (y[index] ?? 0), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

function logProbability(logits: readonly number[], token: number): number {
  const largest = Math.max(...logits);
  const sum = logits.reduce((total, value) => total + Math.exp(value - largest), 0);
  return (logits[token] ?? Number.NaN) - largest - Math.log(sum);
}
