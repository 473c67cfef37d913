import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Adapter, adapterShapes, type ClsInjectionSettings, checkAdapter } from "../../src/adapter/adapter.js";
import { adapterGraph } from "../../src/adapter/adapter-graph.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession } from "../../src/runtime/session.js";
import { elementCount, type Tensor } from "../../src/tensor/tensor.js";

const settings: ClsInjectionSettings = {
  injectedStates: 2,
  startLayer: 1,
  endLayer: 3,
  perceptionSees: "itself",
  sharedConnector: false,
  promptLength: 2,
  promptForm: "table",
};
const widths = { encoder: 2, decoder: 3, embedding: 2 };

/** The states of three blocks [1, 3, 2] for one image. */
const states: Tensor = { type: "float32", shape: [1, 3, 2], data: Float32Array.of(9, 9, 1, 2, 3, 4) };

/** An adapter in which each tensor contains 0.1, 0.2, 0.3, … */
function counting(change: Partial<ClsInjectionSettings> = {}): Adapter {
  const own = { ...settings, ...change };
  const tensors = Array.from(adapterShapes(own, widths), ([name, shape]): [string, Tensor] => [
    name,
    {
      type: "float32",
      shape,
      data: Float32Array.from({ length: elementCount(shape) }, (_, i) => (i + 1) / 10),
    },
  ]);
  return { settings: own, tensors: new Map(tensors) };
}

async function run(adapter: Adapter): Promise<{ perception: number[]; softPrompt: number[] }> {
  const session = await openSession(encodeOnnx(adapterGraph(adapter, widths, 3)), { threads: 1 });
  try {
    const { perception, soft_prompt } = await session.run({ cls_states: states }, ["perception", "soft_prompt"]);
    assert.deepEqual(perception?.shape, [1, 2, 3]);
    assert.deepEqual(soft_prompt?.shape, [2, 2]);
    return { perception: rounded(perception), softPrompt: rounded(soft_prompt) };
  } finally {
    await session.close();
  }
}

function rounded({ data }: Tensor): number[] {
  return Array.from(data as Float32Array, (value) => Math.round(value * 1e4) / 1e4);
}

describe("an adapter's graph", () => {
  it("projects the last K states with one connector", async () => {
    const { perception } = await run(counting({ sharedConnector: true }));
    // [1, 2] and [3, 4] times [[.1, .2], [.3, .4], [.5, .6]], plus [.1, .2, .3].
    assert.deepEqual(perception, [0.6, 1.3, 2, 1.2, 2.7, 4.2]);
  });

  it("projects the shallowest state with connector.0 if each has its own connector", async () => {
    const adapter = counting();
    const tensors = new Map(adapter.tensors);
    tensors.set("connector.0.weight", { type: "float32", shape: [3, 2], data: new Float32Array(6) });
    const { perception } = await run({ ...adapter, tensors });
    assert.deepEqual(perception, [0.1, 0.2, 0.3, 1.2, 2.7, 4.2]);
  });

  it("takes the soft prompt from its table", async () => {
    assert.deepEqual((await run(counting())).softPrompt, [0.1, 0.2, 0.3, 0.4]);
  });

  it("computes the soft prompt as table, linear, tanh, linear in the form mlp", async () => {
    const linear = (x: readonly number[]) =>
      [0, 1].map((row) => 0.1 * (row + 1) + [0, 1].reduce((sum, i) => sum + (x[i] ?? 0) * (2 * row + i + 1) * 0.1, 0));
    const expected = [
      [0.1, 0.2],
      [0.3, 0.4],
    ].flatMap((row) => linear(linear(row).map(Math.tanh)));
    const { softPrompt } = await run(counting({ promptForm: "mlp" }));
    assert.deepEqual(
      softPrompt,
      expected.map((value) => Math.round(value * 1e4) / 1e4),
    );
  });
});

describe("checkAdapter", () => {
  const refused: [string, (tensors: Map<string, Tensor>) => void, RegExp][] = [
    [
      "a missing tensor",
      (tensors) => tensors.delete("connector.1.bias"),
      /^file: tensor connector\.1\.bias is missing$/,
    ],
    [
      "an unexpected tensor",
      (tensors) => tensors.set("connector.2.bias", { type: "float32", shape: [3], data: new Float32Array(3) }),
      /^file: unexpected tensor connector\.2\.bias$/,
    ],
    [
      "a tensor of another width",
      (tensors) => tensors.set("connector.0.weight", { type: "float32", shape: [3, 4], data: new Float32Array(12) }),
      /^file: tensor connector\.0\.weight: expected \[3, 2\], got \[3, 4\]$/,
    ],
  ];
  for (const [what, change, message] of refused) {
    it(`rejects ${what} and names it`, () => {
      const adapter = counting();
      const tensors = new Map(adapter.tensors);
      checkAdapter(adapter, widths, "file");
      change(tensors);
      assert.throws(() => checkAdapter({ ...adapter, tensors }, widths, "file"), {
        code: "invalid_adapter",
        message,
      });
    });
  }
});
