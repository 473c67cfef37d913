import { GraphBuilder } from "../../src/graph/builder.js";
import type { Dim, Graph, Value } from "../../src/graph/ir.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession } from "../../src/runtime/session.js";
import type { ElementType, Tensor } from "../../src/tensor/tensor.js";

export const floats = (shape: readonly number[], data: readonly number[]): Tensor => ({
  type: "float32",
  shape,
  data: Float32Array.from(data),
});

export const integers = (shape: readonly number[], data: readonly number[]): Tensor => ({
  type: "int64",
  shape,
  data: BigInt64Array.from(data, BigInt),
});

export const booleans = (shape: readonly number[], data: readonly number[]): Tensor => ({
  type: "bool",
  shape,
  data: Uint8Array.from(data),
});

export const bytes = (shape: readonly number[], data: readonly number[]): Tensor => ({
  type: "uint8",
  shape,
  data: Uint8Array.from(data),
});

/** Adds an input with a generated name. */
export function anyInput(g: GraphBuilder, shape: readonly Dim[], type: ElementType = "float32"): Value {
  return g.input(`input ${nextInput++}`, type, shape);
}

let nextInput = 0;

/** The graph that `build` adds to inputs with the types and shapes of `feeds`; outputs are named `0`, `1`, … */
export function graphOf(
  feeds: Readonly<Record<string, Tensor>>,
  build: (g: GraphBuilder, inputs: Readonly<Record<string, Value>>) => readonly Value[],
): Graph {
  const g = new GraphBuilder("small");
  const inputs = Object.fromEntries(
    Object.entries(feeds).map(([name, { type, shape }]) => [name, g.input(name, type, shape)]),
  );
  build(g, inputs).forEach((value, index) => {
    g.output(String(index), value);
  });
  return g.finish();
}

/** Runs a graph and returns all its outputs, in order. */
export async function runGraph(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Promise<Tensor[]> {
  const names = graph.outputs.map(({ name }) => name);
  const session = await openSession(encodeOnnx(graph), { threads: 1 });
  try {
    const results = await session.run(feeds, names);
    return names.flatMap((name) => results[name] ?? []);
  } finally {
    await session.close();
  }
}

export const numbersOf = ({ data }: Tensor): number[] => Array.from(data as Float32Array, Number);
