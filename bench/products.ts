import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { median } from "../src/cli/measure/median.js";
import { GraphBuilder } from "../src/graph/builder.js";
import { inPrecision } from "../src/graph/in-precision.js";
import type { Graph, Value } from "../src/graph/ir.js";
import { writeOnnx } from "../src/graph/onnx-writer.js";
import { openSession, type Session } from "../src/runtime/session.js";
import type { Tensor } from "../src/tensor/tensor.js";
import type { Context, Measurement } from "./measurement.js";
import { random } from "./random-model.js";
import type { Table } from "./table.js";

const ROUNDS = 5;
/** Runs of a session in a round. The threads of the session before it still spin during the first ones. */
const [WARM_UP, COUNTED] = [3, 8];
/** Rows of a product: a step of one text, batches, and prompts. */
const tokens = [1, 8, 16, 24, 100] as const;

/** The products of a layer of SmolLM2-135M. */
const [WIDTH, QKV, INNER, LAYERS] = [576, 960, 1536, 30];
/** Operators of a step that are not products with weights, which epalm's graph has for this model. */
const SMALL_OPERATORS = 900;

/**
 * What of a step no other graph could avoid: the products with weights as ONNX Runtime computes them, one after the
 * other and without anything between them; and as many trivial operators as a step has besides.
 */
export const products: Measurement = {
  summary: "the products of SmolLM2-135M's layers alone, in each kind of quantization, from 1 to 100 tokens",
  async run(context) {
    const folder = mkdtempSync(join(context.folder, "products-"));
    const subjects: Subject[] = [];
    try {
      for (const [name, graph] of graphs()) {
        const path = join(folder, `${name}.onnx`);
        writeOnnx(graph, path);
        subjects.push({ name, session: await openSession(path), times: new Map(tokens.map((count) => [count, []])) });
      }
      return [await measured(context, subjects)];
    } finally {
      await Promise.all(subjects.map(({ session }) => session.close()));
      rmSync(folder, { recursive: true });
    }
  },
};

interface Subject {
  readonly name: string;
  readonly session: Session;
  readonly times: ReadonlyMap<number, number[]>;
}

async function measured({ say, rounds = ROUNDS }: Context, subjects: readonly Subject[]): Promise<Table> {
  say(`measuring: products, ${rounds} rounds`);
  for (const count of tokens) {
    const shape = [1, count, WIDTH];
    const x: Tensor = { type: "float32", shape, data: new Float32Array(count * WIDTH).fill(0.1) };
    for (let round = 0; round < rounds; round++) {
      for (const { session, times } of subjects) {
        for (let run = 0; run < WARM_UP + COUNTED; run++) {
          const started = performance.now();
          await session.run({ x }, ["y"]);
          if (run >= WARM_UP) times.get(count)?.push(performance.now() - started);
        }
      }
    }
  }
  return {
    title: `products: ${LAYERS} layers of SmolLM2-135M without anything else, ms, medians of ${rounds * COUNTED}`,
    columns: [
      { key: "tokens", title: "tokens", isLabel: true },
      ...subjects.map(({ name }) => ({ key: name, title: name, digits: 2 })),
    ],
    rows: tokens.map((count) => ({
      tokens: count,
      ...Object.fromEntries(subjects.map(({ name, times }) => [name, median(times.get(count) ?? [])])),
    })),
    notes: [
      "int8: whole tensors (DynamicQuantizeMatMul), the last product of a layer in blocks; int8 blocks: all in blocks (MatMulNBits)",
      `${SMALL_OPERATORS} operators: sums and products of as many tokens with one vector`,
    ],
  };
}

function* graphs(): Generator<[name: string, graph: Graph]> {
  const usual = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"] as const;
  // By this name, a matrix is quantized in blocks.
  const blocks = ["q.down_proj", "o.down_proj", "g.down_proj", "down_proj"] as const;
  for (const precision of ["fp32", "int8", "int4"] as const) yield [precision, inPrecision(layers(usual), precision)];
  yield ["int8 blocks", inPrecision(layers(blocks), "int8")];
  yield [`${SMALL_OPERATORS} operators`, smallOperators()];
}

type Names = readonly [qkv: string, o: string, gateUp: string, down: string];

function layers([qkv, o, gateUp, down]: Names): Graph {
  const g = new GraphBuilder("products");
  let x = g.input("x", "float32", [1, "tokens", WIDTH]);
  for (let layer = 0; layer < LAYERS; layer++) {
    const product = (of: Value, name: string, rows: number, columns: number) => {
      const weight = `layers.${layer}.${name}.weight`;
      return g.matmul(of, g.weight(weight, random([rows, columns], weight, 0.02)));
    };
    x = product(g.slice(product(x, qkv, WIDTH, QKV), 2, 0, WIDTH), o, WIDTH, WIDTH);
    x = product(g.slice(product(x, gateUp, WIDTH, 2 * INNER), 2, 0, INNER), down, INNER, WIDTH);
  }
  g.output("y", x);
  return g.finish();
}

function smallOperators(): Graph {
  const g = new GraphBuilder("operators");
  let x = g.input("x", "float32", [1, "tokens", WIDTH]);
  const vector = g.weight("vector", random([WIDTH], "vector", 0.02));
  for (let i = 0; i < SMALL_OPERATORS / 2; i++) x = g.multiply(g.add(x, vector), vector);
  g.output("y", x);
  return g.finish();
}
