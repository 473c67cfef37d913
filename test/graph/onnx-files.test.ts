import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import { EpalmError } from "../../src/core/errors.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Graph } from "../../src/graph/ir.js";
import { readOnnx } from "../../src/graph/onnx-reader.js";
import { decodeModel } from "../../src/graph/onnx-schema.js";
import { encodeOnnx, writeOnnx } from "../../src/graph/onnx-writer.js";
import { quantizeGraph } from "../../src/graph/quantize.js";
import { openSession } from "../../src/runtime/session.js";
import { constantSource, type Tensor, type TensorSource } from "../../src/tensor/tensor.js";
import { goldenDecoder, goldenEncoder } from "../support/golden-graphs.js";

/** Weights of 32 x 40 floats, large enough to be stored in a data file. */
function ramp(step: number): TensorSource {
  return constantSource(
    "float32",
    [32, 40],
    Float32Array.from({ length: 1280 }, (_, i) => (i % 17) * step),
  );
}

/** relu(x W1 W2^T) with two weights, an attribute of each kind, and a symbolic size. */
function twoWeights(): Graph {
  const g = new GraphBuilder("two weights");
  const x = g.input("x", "float32", ["batch", 32]);
  const hidden = g.scope("first", () => g.gelu(g.matmul(x, g.weight("w1", ramp(0.01))), "tanh"));
  const normed = g.layerNorm(
    hidden,
    g.weight("scale", constantSource("float32", [40], new Float32Array(40).fill(2))),
    g.weight("bias", constantSource("float32", [40], new Float32Array(40))),
    1e-5,
  );
  g.output("y", g.matmulTransposed(normed, g.weight("w2", ramp(-0.02))));
  return g.finish();
}

const input: Tensor = {
  type: "float32",
  shape: [3, 32],
  data: Float32Array.from({ length: 96 }, (_, i) => Math.sin(i)),
};

async function run(model: string | Uint8Array): Promise<number[]> {
  const session = await openSession(model, { threads: 1 });
  const { y } = await session.run({ x: input }, ["y"]);
  await session.close();
  return Array.from(y?.data as Float32Array);
}

describe("ONNX files", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "epalm-graph-"));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it("round-trip a graph", () => {
    const graph = twoWeights();
    const path = join(folder, "same.onnx");
    writeOnnx(graph, path);
    const back = readOnnx(path);
    assert.deepEqual(back.inputs, graph.inputs);
    assert.deepEqual(back.outputs, graph.outputs);
    // Float attributes are float32 in the file.
    const rounded = JSON.parse(JSON.stringify(graph.nodes), (key, value) =>
      key === "value" && typeof value === "number" ? Math.fround(value) : value,
    );
    assert.deepEqual(JSON.parse(JSON.stringify(back.nodes)), rounded);
    assert.deepEqual(Array.from(back.initializers.keys()).sort(), Array.from(graph.initializers.keys()).sort());
    for (const [name, source] of graph.initializers) {
      assert.deepEqual(back.initializers.get(name)?.read(), source.read(), name);
    }
  });

  it("round-trip every kind of backbone, in float32 and quantized", () => {
    const graphs = [
      goldenDecoder("opt-post-norm-projected").graph,
      goldenDecoder("llama-shared-1token").graph,
      goldenEncoder("opt-shared-1token").graph,
    ];
    const all = graphs.flatMap((graph) => [
      graph,
      quantizeGraph(graph, { precision: "int8" }),
      quantizeGraph(graph, { precision: "int4" }),
    ]);
    for (const graph of all) {
      const path = join(folder, "backbone.onnx");
      const again = join(folder, "again.onnx");
      writeOnnx(graph, path);
      writeOnnx(readOnnx(path), again);
      const back = readOnnx(again);
      assert.deepEqual(
        back.nodes.map(({ name, op, inputs, outputs }) => ({ name, op, inputs, outputs })),
        graph.nodes.map(({ name, op, inputs, outputs }) => ({ name, op, inputs, outputs })),
      );
      for (const [name, source] of graph.initializers) {
        assert.deepEqual(back.initializers.get(name)?.read(), source.read(), name);
      }
    }
  });

  it("give the same result from files and from memory", async () => {
    const path = join(folder, "run.onnx");
    writeOnnx(twoWeights(), path);
    assert.deepEqual(await run(path), await run(encodeOnnx(twoWeights())));
  });

  it("can list tables as inputs with a default, which callers need not give", async () => {
    const g = new GraphBuilder("tied");
    const table = g.weight("table", ramp(0.01));
    const rows = g.gather(table, g.input("ids", "int64", ["batch"]));
    g.output("y", g.matmulTransposed(g.multiply(rows, g.number(2)), table));
    const graph = g.finish();
    const results: number[][] = [];
    for (const packTables of [true, false]) {
      const path = join(folder, `tied-${packTables}.onnx`);
      writeOnnx(graph, path, { packTables });
      const inputs = decodeModel(readFileSync(path)).graph?.input?.map(({ name }) => name);
      assert.deepEqual(inputs, packTables ? ["ids"] : ["ids", "table"]);
      const session = await openSession(path, { threads: 1 });
      assert.deepEqual(session.inputNames, ["ids"]);
      const ids: Tensor = { type: "int64", shape: [2], data: BigInt64Array.of(3n, 31n) };
      const { y } = await session.run({ ids }, ["y"]);
      results.push(Array.from(y?.data as Float32Array));
      await session.close();
    }
    const [packed = [], open = []] = results;
    assert.equal(packed.length, 64);
    for (const [index, value] of packed.entries()) assert.ok(Math.abs(value - Number(open[index])) < 1e-5);
  });

  it("are split into shards of at most the given size and still run", async () => {
    const path = join(folder, "sharded.onnx");
    const files = writeOnnx(twoWeights(), path, { shardBytes: 6000 });
    assert.deepEqual(
      files.map(({ name }) => name),
      ["sharded.onnx", "sharded.data", "sharded.data.1"],
    );
    for (const { name, bytes } of files) assert.equal(readFileSync(join(folder, name)).length, bytes);
    assert.deepEqual(await run(path), await run(encodeOnnx(twoWeights())));
  });

  it("are written completely or not at all", () => {
    const graph = twoWeights();
    const broken: TensorSource = {
      type: "float32",
      shape: [32, 40],
      read() {
        throw new EpalmError("invalid_checkpoint", "the source ends early");
      },
    };
    const initializers = new Map(graph.initializers).set("w2", broken);
    const path = join(folder, "broken.onnx");
    assert.throws(() => writeOnnx({ ...graph, initializers }, path), /ends early/);
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.startsWith("broken")),
      [],
    );
  });

  it("are not written from a source whose data does not match its shape", () => {
    const graph = twoWeights();
    const short: TensorSource = { type: "float32", shape: [32, 40], read: () => new Float32Array(1279) };
    const initializers = new Map(graph.initializers).set("w2", short);
    const message = /weight 'w2': expected 5120 bytes, its source returned 5116/;
    assert.throws(() => writeOnnx({ ...graph, initializers }, join(folder, "short.onnx")), { message });
    assert.throws(() => encodeOnnx({ ...graph, initializers }), { code: "internal", message });
    assert.ok(!existsSync(join(folder, "short.onnx")) && !existsSync(join(folder, "short.data.part")));
  });

  it("are rejected, naming the file, if the data file is truncated, missing or elsewhere", () => {
    const path = join(folder, "cut.onnx");
    writeOnnx(twoWeights(), path);
    const data = join(folder, "cut.data");
    writeFileSync(data, readFileSync(data).subarray(0, 6000));
    assert.throws(() => readOnnx(path), {
      code: "invalid_model",
      message: /cut\.onnx: weight 'w2': lies outside cut\.data/,
    });
    rmSync(data);
    assert.throws(() => readOnnx(path), { code: "invalid_model", message: /cut\.onnx/ });
    const moved = Buffer.from(readFileSync(path).toString("latin1").replaceAll("cut.data", "../c.dat"), "latin1");
    writeFileSync(path, moved);
    assert.throws(() => readOnnx(path), { code: "invalid_model", message: /is not beside the graph/ });
  });

  it("are rejected if the data file is a folder", () => {
    const path = join(folder, "up.onnx");
    writeOnnx(twoWeights(), path);
    // The new name has the same length, so that lengths in the file remain correct.
    const placed = readFileSync(path).toString("latin1").replaceAll("up.data", "up.fold");
    writeFileSync(path, Buffer.from(placed, "latin1"));
    mkdirSync(join(folder, "up.fold"));
    assert.throws(() => readOnnx(path), {
      code: "invalid_model",
      message: /data file 'up\.fold' is not a regular file/,
    });
  });

  it("cause a clear error if they are damaged", () => {
    const whole = join(folder, "whole.onnx");
    writeOnnx(twoWeights(), whole);
    const bytes = readFileSync(whole);
    copyFileSync(join(folder, "whole.data"), join(folder, "damaged.data"));
    const path = join(folder, "damaged.onnx");
    const damage = fc.oneof(
      fc.record({ kind: fc.constant("cut" as const), at: fc.nat(bytes.length - 1) }),
      fc.record({ kind: fc.constant("flip" as const), at: fc.nat(bytes.length - 1), bit: fc.nat(7) }),
    );
    fc.assert(
      fc.property(damage, (change) => {
        const damaged = Buffer.from(change.kind === "cut" ? bytes.subarray(0, change.at) : bytes);
        if (change.kind === "flip") damaged[change.at] = (damaged[change.at] as number) ^ (1 << change.bit);
        writeFileSync(path, damaged);
        try {
          readOnnx(path);
        } catch (error) {
          assert.ok(error instanceof EpalmError, String(error));
          assert.ok(error.message.startsWith(path) && !error.message.includes("\n"), error.message);
        }
      }),
      { numRuns: 500, seed: 1 },
    );
    assert.ok(existsSync(path));
  });
});
