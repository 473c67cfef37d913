import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { gradient, gradientName } from "../../src/autodiff/gradient.js";
import { EpalmError } from "../../src/core/errors.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { checkGraph } from "../../src/graph/check-graph.js";
import { type Graph, int, type Value } from "../../src/graph/ir.js";
import { readOnnx } from "../../src/graph/onnx-reader.js";
import { encodeOnnx, writeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession } from "../../src/runtime/session.js";
import { constantSource, elementCount, type Tensor } from "../../src/tensor/tensor.js";
import { within } from "./example.js";
import { assertTensorClose } from "./relative-difference.js";
import { tolerances } from "./tolerances.js";

function floats(shape: readonly number[], fill = within(-1, 1)): Tensor {
  const data = Float32Array.from({ length: elementCount(shape) }, (_, i) => fill(i));
  return { type: "float32", shape, data };
}

function weight(g: GraphBuilder, name: string, shape: readonly number[]): Value {
  return g.weight(name, constantSource("float32", shape, floats(shape).data));
}

/** A graph whose output `loss` is the sum of the value that `build` returns. */
function lossGraph(build: (g: GraphBuilder) => Value): Graph {
  const g = new GraphBuilder("test");
  const y = build(g);
  const axes = y.shape.map((_, axis) => axis);
  g.output("loss", g.sum(y, axes, false));
  return g.finish();
}

/** Two linears with a norm and an activation, with symbolic sizes; `x`, `scale` and `bias` can be trained. */
function network(): Graph {
  return lossGraph((g) => {
    const x = g.input("x", "float32", ["batch", "step", 4]);
    const [scale, bias] = [g.input("scale", "float32", [4]), g.input("bias", "float32", [4])];
    const hidden = g.tanh(g.matmul(g.layerNorm(x, scale, bias, 1e-5), weight(g, "first", [4, 6])));
    g.output("hidden", hidden);
    return g.matmul(g.reshape(hidden, [-1, 6]), weight(g, "second", [6, 3]));
  });
}

const networkFeeds = { x: floats([2, 3, 4]), scale: floats([4]), bias: floats([4]) };

/** The operators that `gradient` added to a graph, sorted. */
function added(forward: Graph, names: readonly string[]): string[] {
  const nodes = gradient(forward, "loss", names).nodes.slice(forward.nodes.length);
  return nodes.map(({ op }) => op).sort();
}

async function run(graph: Graph, feeds: Readonly<Record<string, Tensor>>, fetches: readonly string[]) {
  const session = await openSession(encodeOnnx(graph), { threads: 1 });
  try {
    return await session.run(feeds, fetches);
  } finally {
    await session.close();
  }
}

async function gradientsOf(forward: Graph, feeds: Readonly<Record<string, Tensor>>, name: string) {
  const results = await run(gradient(forward, "loss", [name]), feeds, [gradientName(name)]);
  return Array.from(results[gradientName(name)]?.data as Float32Array);
}

describe("gradient", () => {
  it("adds nodes only between the trained values and the loss", () => {
    const graph = (frozenNodes: number) =>
      lossGraph((g) => {
        const x = g.input("x", "float32", ["batch", 4]);
        let frozen = g.input("frozen", "float32", [4]);
        for (let i = 0; i < frozenNodes; i++) frozen = g.tanh(frozen);
        return g.matmul(g.add(x, frozen), weight(g, "matrix", [4, 2]));
      });
    // Expand for the sum, FusedMatMul for the product with the frozen matrix; the addition needs no node.
    const expected = ["Expand", "FusedMatMul", "Identity", "Shape", "Unsqueeze"];
    assert.deepEqual(added(graph(0), ["x"]), expected);
    assert.deepEqual(added(graph(20), ["x"]), expected);
  });

  it("adds nothing before a value inside the graph, whatever computes it", () => {
    const forward = lossGraph((g) => {
      const x = g.input("x", "float32", [2, 3]);
      // Max has no gradient rule.
      return g.exponential(g.maximum(g.tanh(x), g.number(0)));
    });
    assert.deepEqual(added(forward, ["Max"]), ["Expand", "Identity", "Mul", "Shape", "Unsqueeze"]);
  });

  it("reads frozen weights in place, without a transposed copy", () => {
    const forward = network();
    const backward = gradient(forward, "loss", ["x"]);
    const fromGraph = new Set(forward.initializers.keys());
    const large = Array.from(backward.initializers).filter(
      ([name, { type, shape }]) => !fromGraph.has(name) && type === "float32" && shape.length > 0,
    );
    assert.deepEqual(large, []);
    for (const name of ["first", "second"]) {
      const readers = backward.nodes.filter(({ inputs }) => inputs.includes(name));
      assert.deepEqual(
        readers.map(({ op, attributes }) => [op, attributes.transB?.value]),
        [
          ["MatMul", undefined],
          ["FusedMatMul", 1],
        ],
      );
    }
  });

  it("adds the gradients of all uses of a value", async () => {
    const forward = lossGraph((g) => {
      const x = g.input("x", "float32", [3]);
      return g.add(g.add(g.multiply(x, x), x), g.concat([g.slice(x, 0, 1), g.slice(x, 0, 0, 1)], 0));
    });
    const x: Tensor = { type: "float32", shape: [3], data: Float32Array.of(1, -2, 0.5) };
    assert.deepEqual(await gradientsOf(forward, { x }, "x"), [4, -2, 3]);
  });

  it("sums over the axes that broadcasting repeated", async () => {
    const forward = lossGraph((g) => {
      const x = g.input("x", "float32", ["batch", "step", 2]);
      return g.add(x, g.input("bias", "float32", [2]));
    });
    const feeds = { x: floats([3, 5, 2]), bias: floats([2]) };
    assert.deepEqual(await gradientsOf(forward, feeds, "bias"), [15, 15]);
  });

  it("is one for the loss itself", async () => {
    const g = new GraphBuilder("test");
    g.output("loss", g.input("x", "float32", []));
    assert.deepEqual(await gradientsOf(g.finish(), { x: floats([]) }, "x"), [1]);
  });

  it("keeps the outputs of the graph and passes the checker", async () => {
    const forward = network();
    const backward = gradient(forward, "loss", ["x", "scale", "bias"]);
    checkGraph(backward);
    assert.deepEqual(
      backward.outputs.map(({ name, shape }) => [name, shape]),
      [
        ...forward.outputs.map(({ name, shape }) => [name, shape]),
        ["gradient of x", ["batch", "step", 4]],
        ["gradient of scale", [4]],
        ["gradient of bias", [4]],
      ],
    );
    const before = await run(forward, networkFeeds, ["hidden", "loss"]);
    const after = await run(backward, networkFeeds, ["hidden", "loss"]);
    for (const name of ["hidden", "loss"]) assert.deepEqual(after[name]?.data, before[name]?.data, name);
  });

  it("does not change the given graph", () => {
    const forward = network();
    const [nodes, values] = [Array.from(forward.nodes), Array.from(forward.values)];
    gradient(forward, "loss", ["x"]);
    assert.deepEqual(forward.nodes, nodes);
    assert.deepEqual(Array.from(forward.values), values);
  });

  it("is the same for a graph that was written and read back", async () => {
    const folder = mkdtempSync(join(tmpdir(), "epalm-gradient-"));
    try {
      const forward = network();
      writeOnnx(forward, join(folder, "network.onnx"));
      const names = ["x", "scale", "bias"];
      const fetches = names.map(gradientName);
      const direct = await run(gradient(forward, "loss", names), networkFeeds, fetches);
      const reread = gradient(readOnnx(join(folder, "network.onnx")), "loss", names);
      const found = await run(reread, networkFeeds, fetches);
      for (const name of fetches)
        assertTensorClose(name, found[name] as Tensor, direct[name] as Tensor, tolerances.alone);
      writeOnnx(reread, join(folder, "gradient.onnx"));
      assert.deepEqual(readOnnx(join(folder, "gradient.onnx")).nodes, reread.nodes);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it("names operator and node if there is no rule", () => {
    const forward = lossGraph((g) => g.scope("layers.3", () => g.maximum(g.input("x", "float32", [3]), g.number(0))));
    assertRefused(() => gradient(forward, "loss", ["x"]), "missing_gradient", /operator Max of node 'layers\.3\/Max'/);
  });

  it("needs no rule for operators on frozen values", () => {
    const forward = lossGraph((g) => {
      const frozen = g.maximum(g.input("frozen", "float32", [3]), g.number(0));
      return g.multiply(g.input("x", "float32", [3]), frozen);
    });
    assert.doesNotThrow(() => gradient(forward, "loss", ["x"]));
  });

  const wrongQuestions: readonly (readonly [what: string, loss: string, name: string, message: RegExp])[] = [
    ["a loss that does not depend on an input", "loss", "aside", /'loss' does not depend on 'aside'/],
    ["an input that only selects", "loss", "ids", /'loss' does not depend on 'ids'/],
    ["an input that does not exist", "loss", "nothing", /'loss' does not depend on 'nothing'/],
    ["a loss with axes", "rows", "x", /loss 'rows': expected float32 \[\], got float32 \[n, 2\]/],
    ["a loss of integers", "count", "x", /loss 'count': expected float32 \[\], got int64 \[\]/],
    ["a loss that does not exist", "nothing", "x", /no value 'nothing'/],
  ];
  for (const [what, loss, name, message] of wrongQuestions) {
    it(`rejects ${what}`, () => {
      const g = new GraphBuilder("test");
      const x = g.input("x", "float32", [3, 2]);
      g.output("beside", g.tanh(g.input("aside", "float32", [2])));
      const rows = g.output("rows", g.gather(x, g.input("ids", "int64", ["n"])));
      g.output("count", g.cast(g.sum(rows, [0, 1], false), "int64"));
      g.output("loss", g.sum(rows, [0, 1], false));
      assertRefused(() => gradient(g.finish(), loss, [name]), "invalid_graph", message);
    });
  }

  /** Forms of operators that a rule does not cover are rejected, never differentiated incorrectly. */
  const uncovered: readonly (readonly [op: string, what: string, build: (g: GraphBuilder) => Value])[] = [
    [
      "Concat",
      "two parts of unknown size",
      (g) => g.concat([input(g, ["a", 2]), g.input("other", "float32", ["b", 2])], 0),
    ],
    ["Gather", "columns", (g) => g.gather(input(g, [2, 3]), g.integers([0, 1]), 1)],
    [
      "Gather",
      "a table of rows of unknown size",
      (g) => g.gather(input(g, [2, "n"]), g.reshape(g.integers([0, 1]), [2, 1])),
    ],
    ["GatherElements", "rows", (g) => other(g, "GatherElements", [input(g, [2, 2]), grid(g)], 0)],
    ["Gemm", "no transposed input", (g) => other(g, "Gemm", [input(g, [2, 3]), weight(g, "w", [3, 4])])],
    [
      "LayerNormalization",
      "two axes",
      (g) => other(g, "LayerNormalization", [input(g, [2, 2]), weight(g, "w", [2])], 0),
    ],
    ["Slice", "the end of an axis of unknown size", (g) => g.slice(input(g, [2, "n"]), 1, -1)],
    ["Slice", "the start of an axis of unknown size", (g) => g.slice(input(g, [2, "n"]), 1, 0, 1)],
  ];
  for (const [op, what, build] of uncovered) {
    it(`rejects a form that the rule of ${op} does not cover: ${what}`, () => {
      const message = new RegExp(`${op} of node '${op}'`);
      assertRefused(() => gradient(lossGraph(build), "loss", ["x"]), "missing_gradient", message);
    });
  }
});

function input(g: GraphBuilder, shape: Value["shape"]): Value {
  return g.input("x", "float32", shape);
}

function grid(g: GraphBuilder): Value {
  return g.reshape(g.integers([0, 1, 1, 0]), [2, 2]);
}

function other(g: GraphBuilder, op: string, inputs: readonly Value[], axis?: number): Value {
  return g.operator(op, inputs, axis === undefined ? {} : { axis: int(axis) })[0] as Value;
}

function assertRefused(act: () => unknown, code: EpalmError["code"], message: RegExp): void {
  assert.throws(act, (error) => {
    assert.ok(error instanceof EpalmError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });
}
