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

/** The graph with some values declared otherwise; undefined: not at all. */
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
    "a value that is used before it is made",
    { ...whole(), nodes: [add, relu, tanh, identity] },
    /Add 'Add': input 'Relu' is not made before it/,
  ],
  [
    "an input that nothing makes",
    { ...whole(), nodes: [{ ...relu, inputs: ["z"] }, add, tanh, identity] },
    /Relu 'Relu': input 'z' is not made before it/,
  ],
  [
    "a value that two nodes make",
    { ...whole(), nodes: [relu, relu, add, tanh, identity] },
    /'Relu' is made twice/,
  ],
  [
    "a weight of an input's name",
    {
      ...whole(),
      initializers: new Map(whole().initializers).set(
        "x",
        constantSource("float32", [], new Float32Array(1)),
      ),
    },
    /weight: 'x' is made twice/,
  ],
  [
    "an input twice",
    { ...whole(), inputs: [...whole().inputs, ...whole().inputs] },
    /input: 'x' is made twice/,
  ],
  [
    "an output that nothing makes",
    { ...whole(), nodes: [relu, add, tanh] },
    /output 'y' is not made by any node/,
  ],
  ["a value without a type", declaring({ Add: undefined }), /Add 'Add': output 'Add' has no type/],
  [
    "a type that is declared otherwise",
    declaring({ Add: { type: "int64" } }),
    /output 'Add': expected int64 \[batch, 2\], got float32 \[batch, 2\]/,
  ],
  [
    "a size that is declared otherwise",
    declaring({ Tanh: { shape: ["batch", 3] } }),
    /output 'Tanh': expected float32 \[batch, 3\], got float32 \[batch, 2\]/,
  ],
  [
    "axes that are declared otherwise",
    declaring({ Tanh: { shape: ["batch"] } }),
    /expected float32 \[batch\]/,
  ],
  [
    "an output that is declared otherwise",
    { ...whole(), outputs: [{ name: "y", type: "float32", shape: ["batch", 5] }] },
    /output 'y': expected float32 \[batch, 5\], got float32 \[batch, 2\]/,
  ],
  [
    "an output too many of a node",
    { ...whole(), nodes: [{ ...relu, outputs: ["Relu", "mask"] }, add, tanh, identity] },
    /Relu 'Relu': output 'mask' has no type/,
  ],
];

describe("graph checker", () => {
  it("lets a whole graph pass", () => {
    checkGraph(whole());
  });
  for (const [what, graph, message] of faults) {
    it(`finds ${what}`, () => {
      assert.throws(() => checkGraph(graph), { code: "invalid_graph", message });
    });
  }
});
