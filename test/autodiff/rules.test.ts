import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gradient, gradientName } from "../../src/autodiff/gradient.js";
import { rules } from "../../src/autodiff/rules.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession } from "../../src/runtime/session.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { RunningExample } from "./example.js";
import { assertClose, assertTensorClose } from "./relative-difference.js";
import { ruleExamples } from "./rule-examples.js";
import { tolerances } from "./tolerances.js";

describe("gradient rules", () => {
  it("all have examples, and all examples have a rule", () => {
    assert.deepEqual(Object.keys(ruleExamples).sort(), Object.keys(rules).sort());
    for (const [operator, examples] of Object.entries(ruleExamples)) assert.ok(examples.length > 0, operator);
  });

  for (const [operator, examples] of Object.entries(ruleExamples)) {
    for (const example of examples) {
      it(`${operator}: ${example.what}`, async () => {
        const running = await RunningExample.open(example);
        try {
          assert.ok(
            running.forward.nodes.some(({ op, domain }) => [domain, op].filter(Boolean).join(".") === operator),
            `the example has no ${operator}`,
          );
          await checkGradients(running);
        } finally {
          await running.close();
        }
      });
    }
  }

  it("add the gradients of repeated rows correctly with several threads", async () => {
    const [rows, width, count] = [4, 64, 4096];
    const g = new GraphBuilder("repeated rows");
    const table = g.input("table", "float32", [rows, width]);
    g.output("loss", g.sum(g.gather(table, g.input("ids", "int64", [count])), [0, 1], false));
    const session = await openSession(encodeOnnx(gradient(g.finish(), "loss", ["table"])), { threads: 4 });
    try {
      const results = await session.run(
        {
          table: { type: "float32", shape: [rows, width], data: new Float32Array(rows * width) },
          ids: {
            type: "int64",
            shape: [count],
            data: BigInt64Array.from({ length: count }, (_, i) => BigInt(i % rows)),
          },
        },
        [gradientName("table")],
      );
      const found = results[gradientName("table")]?.data as Float32Array;
      assert.deepEqual(found, new Float32Array(rows * width).fill(count / rows));
    } finally {
      await session.close();
    }
  });

  it("compute no logarithm if the exponent of a power is not trained", async () => {
    const examples = ruleExamples.Pow?.filter(({ inputs }) => "x" in inputs && !("b" in inputs)) ?? [];
    const [square] = examples.filter(({ what }) => what.startsWith("square"));
    assert.ok(square);
    const running = await RunningExample.open(square);
    await running.close();
    assert.ok(!running.gradientGraph(["x"]).nodes.some(({ op }) => op === "Log"));
  });
});

/**
 * Compares the gradients of all trained inputs with finite differences, and each gradient alone with those together.
 */
async function checkGradients(running: RunningExample): Promise<void> {
  const together = await running.gradients(running.trained);
  for (const [name, found] of together) {
    assertClose(name, found.data as Float32Array, await running.differences(name), tolerances.rule);
    const alone = await running.gradients([name]);
    assertTensorClose(`${name} alone`, alone.get(name) as Tensor, found, tolerances.alone);
  }
}
