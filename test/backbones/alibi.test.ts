import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alibiSlopes } from "../../src/backbones/decoders/bloom.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { visibilityBias } from "../../src/layers/attention.js";
import { openSession } from "../../src/runtime/session.js";

/** The slopes of `build_alibi_tensor` in transformers' modeling_bloom.py, rounded. */
const slopes: readonly (readonly number[])[] = [
  [1 / 256],
  [1 / 16, 1 / 256],
  [1 / 16, 1 / 256, 1 / 4],
  [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2],
  [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256, Math.SQRT1_2, 0.353553, 0.176777, 0.088388],
];

describe("ALiBi", () => {
  for (const expected of slopes) {
    it(`has the slopes of transformers for ${expected.length} heads`, () => {
      const found = alibiSlopes(expected.length);
      assert.equal(found.length, expected.length);
      found.forEach((slope, i) => {
        assert.ok(Math.abs(slope - Number(expected[i])) < 1e-6, `slope ${i}: ${slope}, expected ${expected[i]}`);
      });
    });
  }

  it("counts only visible keys, and perceptual keys as the first ones wherever they are stored", async () => {
    const g = new GraphBuilder("bias");
    const visible = g.input("visible", "bool", [1, 2, 5]);
    const slotKeys = g.input("slot_keys", "bool", [1, 5]);
    const layout = { heads: 2, keyHeads: 2, headSize: 1 };
    g.output("bias", visibilityBias(g, visible, layout, { slopes: [0.5, 0.25], slotKeys }));
    const session = await openSession(encodeOnnx(g.finish()), { threads: 1 });
    const { bias } = await session.run(
      {
        // The second key is padding; the fourth is the perceptual slot, which the second token does not attend to.
        visible: { type: "bool", shape: [1, 2, 5], data: Uint8Array.of(1, 0, 1, 1, 1, 1, 0, 1, 0, 1) },
        slot_keys: { type: "bool", shape: [1, 5], data: Uint8Array.of(0, 0, 0, 1, 0) },
      },
      ["bias"],
    );
    await session.close();
    assert.deepEqual(bias?.shape, [1, 2, 2, 5]);
    const hidden = Math.fround(-3.4028234663852886e38);
    assert.deepEqual(
      Array.from(bias?.data as Float32Array),
      [
        [-1.5, hidden, -1, -2, -0.5],
        [-1.5, hidden, -1, hidden, -0.5],
        [-0.75, hidden, -0.5, -1, -0.25],
        [-0.75, hidden, -0.5, hidden, -0.25],
      ].flat(),
    );
  });
});
