import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GraphBuilder } from "../../src/graph/builder.js";
import { checkGraph } from "../../src/graph/check-graph.js";
import { constantSource } from "../../src/tensor/tensor.js";
import { anyInput, floats, graphOf, numbersOf, runGraph } from "../support/small-graphs.js";

const ones = () => constantSource("float32", [2], Float32Array.of(1, 1));

describe("graph builder", () => {
  it("names nodes by scope and operator and numbers repeated names", () => {
    const g = new GraphBuilder("names");
    const x = anyInput(g, [2]);
    const names = [g.relu(x), g.relu(x), ...g.scope("layers.0", () => [g.relu(x), g.relu(x)])];
    names.push(g.scope("layers.0", () => g.scope("mlp", () => g.tanh(x))));
    names.push(...g.scope("layers.0", () => g.split(x, [1, 1], 0)));
    names.push(g.relu(x));
    assert.deepEqual(
      names.map(({ name }) => name),
      [
        "Relu",
        "Relu_1",
        "layers.0/Relu",
        "layers.0/Relu_1",
        "layers.0.mlp/Tanh",
        "layers.0/Split.0",
        "layers.0/Split.1",
        "Relu_2",
      ],
    );
  });

  it("splits off many parts in groups, so that no node has more than seven outputs", async () => {
    const sizes = Array.from({ length: 60 }, (_, part) => 1 + (part % 3));
    const numbers = Array.from({ length: 120 }, (_, at) => at);
    const feeds = { x: floats([120], numbers) };
    const graph = graphOf(feeds, (g, { x }) => (x ? g.split<readonly number[]>(x, sizes, 0) : []));
    assert.ok(Math.max(...graph.nodes.map(({ outputs }) => outputs.length)) <= 7);
    const parts = (await runGraph(graph, feeds)).map(numbersOf);
    assert.deepEqual(
      parts.map(({ length }) => length),
      sizes,
    );
    assert.deepEqual(parts.flat(), numbers);
  });

  it("leaves a scope in which a call failed", () => {
    const g = new GraphBuilder("scopes");
    const x = anyInput(g, [2]);
    assert.throws(() => g.scope("inner", () => g.matmul(x, x)), /inner\/MatMul/);
    assert.equal(g.relu(x).name, "Relu");
  });

  it("stores equal constants once", () => {
    const g = new GraphBuilder("constants");
    assert.equal(g.integers([1, 2]), g.integers([1, 2]));
    assert.equal(g.number(0.5), g.number(0.5));
    // A scalar and a list of one element differ.
    assert.notEqual(g.integer(3).name, g.integers([3]).name);
    assert.deepEqual(g.constantOf(g.integers([1, 2])), [1, 2]);
    assert.equal(g.constantOf(g.number(0.5)), undefined);
  });

  it("returns a weight again, but rejects another source with its name", () => {
    const g = new GraphBuilder("weights");
    const source = ones();
    assert.equal(g.weight("w", source), g.weight("w", source));
    assert.throws(() => g.weight("w", ones()), {
      code: "invalid_graph",
      message: /'w' \[2\] is defined twice/,
    });
  });

  it("rejects duplicate names of inputs and outputs", () => {
    const g = new GraphBuilder("twice");
    const x = g.input("x", "float32", [2]);
    g.output("y", x);
    assert.throws(() => g.input("x", "float32", [2]), /'x' \[2\] is defined twice/);
    assert.throws(() => g.output("y", x), /'y' \[2\] is defined twice/);
  });

  it("adds no node for an operation without effect", () => {
    const g = new GraphBuilder("nothing");
    const x = anyInput(g, [2]);
    assert.equal(g.cast(x, "float32"), x);
    assert.equal(g.concat([x], 0), x);
  });

  it("gives symbolic sizes the specified names", () => {
    const g = new GraphBuilder("sizes");
    const x = anyInput(g, ["batch", "past+step"]);
    const parts = g.splitDynamic(x, anyInput(g, [2], "int64"), ["past", "step"], 1);
    assert.deepEqual(
      parts.map(({ shape }) => shape),
      [
        ["batch", "past"],
        ["batch", "step"],
      ],
    );
    assert.deepEqual(g.repeatFor(anyInput(g, [1, 4]), x).shape, ["batch", 4]);
    assert.deepEqual(g.reshapeLike(g.relu(x), x).shape, x.shape);
    checkGraph(g.finish());
  });

  it("counts the elements of known and symbolic shapes", async () => {
    const feeds = { x: floats([2, 3], [1, 2, 3, 4, 5, 6]) };
    const known = graphOf(feeds, (g, { x }) => (x ? [g.elementCount(x)] : []));
    const g = new GraphBuilder("run");
    g.output("0", g.elementCount(g.input("x", "float32", ["rows", 3])));
    for (const graph of [known, g.finish()]) {
      const [count] = await runGraph(graph, feeds);
      assert.deepEqual(count && numbersOf(count), [6]);
    }
  });

  it("extends a finished graph without changing it", async () => {
    const feeds = { x: floats([2], [1, -2]) };
    const graph = graphOf(feeds, (g, { x }) => (x ? [g.relu(x)] : []));
    const nodes = graph.nodes.length;
    const g = GraphBuilder.extending(graph, "more");
    g.output("1", g.negate(g.value("Relu")));
    const extended = g.finish();
    assert.equal(graph.nodes.length, nodes);
    assert.equal(extended.nodes.at(-2)?.name, "more/Neg");
    assert.deepEqual((await runGraph(extended, feeds)).map(numbersOf), [
      [1, 0],
      [-1, -0],
    ]);
    assert.throws(() => g.value("nowhere"), {
      code: "invalid_graph",
      message: /there is no value 'nowhere'/,
    });
  });

  it("adds omitted outputs to a node, but no more than the operator has", () => {
    const g = new GraphBuilder("outputs");
    const normed = g.layerNorm(anyInput(g, ["batch", 2]), g.weight("scale", ones()), g.weight("bias", ones()), 1e-5);
    const deviation = g.extendOutputs(normed.name, 2);
    assert.equal(deviation.name, "LayerNormalization.2");
    assert.deepEqual(deviation.shape, ["batch", 1]);
    assert.equal(g.extendOutputs(normed.name, 2), deviation);
    g.output("y", normed);
    checkGraph(g.finish());
    assert.throws(() => g.extendOutputs(normed.name, 3), /LayerNormalization': has no output 3/);
    assert.throws(() => g.extendOutputs("nowhere", 1), /there is no node 'nowhere'/);
  });
});
