import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GraphBuilder } from "../../src/graph/builder.js";
import { checkGraph } from "../../src/graph/check-graph.js";
import type { Graph, Node, Value } from "../../src/graph/ir.js";
import { constantSource } from "../../src/tensor/tensor.js";

/** y = tanh(relu(x) + w) */
function whole(): Graph {
  const g = new GraphBuilder("whole");
  const x = g.input("x", "float32", ["batch", 2]);
  const w = g.weight("w", constantSource("float32", [2], Float32Array.of(1, 2)));
  g.output("y", g.tanh(g.add(g.relu(x), w)));
  return g.finish();
}

const [relu, add, tanh, identity] = whole().nodes as [Node, Node, Node, Node];

/** The graph with changed declarations of some values; undefined removes a declaration. */
function declaring(changes: Readonly<Record<string, Partial<Value> | undefined>>): Graph {
  const graph = whole();
  const values = new Map(graph.values);
  for (const [name, change] of Object.entries(changes)) {
    const value = values.get(name);
    if (change && value) values.set(name, { ...value, ...change });
    else values.delete(name);
  }
  return { ...graph, values };
}

const faults: readonly (readonly [string, Graph, RegExp])[] = [
  [
    "a value that is used before it is defined",
    { ...whole(), nodes: [add, relu, tanh, identity] },
    /Add 'Add': input 'Relu' is not defined before it/,
  ],
  [
    "an input that is never defined",
    { ...whole(), nodes: [{ ...relu, inputs: ["z"] }, add, tanh, identity] },
    /Relu 'Relu': input 'z' is not defined before it/,
  ],
  [
    "a value that two nodes define",
    { ...whole(), nodes: [relu, relu, add, tanh, identity] },
    /'Relu' is defined twice/,
  ],
  [
    "a weight with the name of an input",
    {
      ...whole(),
      initializers: new Map(whole().initializers).set("x", constantSource("float32", [], new Float32Array(1))),
    },
    /weight: 'x' is defined twice/,
  ],
  ["a duplicate input", { ...whole(), inputs: [...whole().inputs, ...whole().inputs] }, /input: 'x' is defined twice/],
  [
    "an output that is never computed",
    { ...whole(), nodes: [relu, add, tanh] },
    /output 'y' is not computed by any node/,
  ],
  ["a value without a type", declaring({ Add: undefined }), /Add 'Add': output 'Add' has no type/],
  [
    "a declared type that differs",
    declaring({ Add: { type: "int64" } }),
    /output 'Add': expected int64 \[batch, 2\], got float32 \[batch, 2\]/,
  ],
  [
    "a declared size that differs",
    declaring({ Tanh: { shape: ["batch", 3] } }),
    /output 'Tanh': expected float32 \[batch, 3\], got float32 \[batch, 2\]/,
  ],
  ["a declared rank that differs", declaring({ Tanh: { shape: ["batch"] } }), /expected float32 \[batch\]/],
  [
    "a declared output that differs",
    { ...whole(), outputs: [{ name: "y", type: "float32", shape: ["batch", 5] }] },
    /output 'y': expected float32 \[batch, 5\], got float32 \[batch, 2\]/,
  ],
  [
    "a node with too many outputs",
    { ...whole(), nodes: [{ ...relu, outputs: ["Relu", "mask"] }, add, tanh, identity] },
    /Relu 'Relu': output 'mask' has no type/,
  ],
];

describe("graph checker", () => {
  it("accepts a valid graph", () => {
    checkGraph(whole());
  });
  for (const [what, graph, message] of faults) {
    it(`finds ${what}`, () => {
      assert.throws(() => checkGraph(graph), { code: "invalid_graph", message });
    });
  }
});
