import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { type MaeConfig, visiblePatches } from "../../../src/backbones/encoders/mae.js";
import { weightsInMemory } from "../../../src/backbones/weights-in-memory.js";
import { randomStreams } from "../../../src/core/random.js";
import { maeConfigOf } from "../../../src/fedmae/config.js";
import { initialMae } from "../../../src/training/encoder/initial-mae.js";
import { maeGraph, maskFeeds, maskNoise } from "../../../src/training/encoder/mae-graph.js";
import { tinyConfig } from "../../support/tiny-clients.js";

function configWith(model: Partial<NonNullable<Parameters<typeof tinyConfig>[0]["model"]>>): MaeConfig {
  const sizes = {
    imageSize: 16,
    patchSize: 8,
    width: 16,
    heads: 2,
    decoderWidth: 16,
    decoderHeads: 2,
    ...model,
  };
  return maeConfigOf(tinyConfig({ model: sizes, clients: { path: "x", count: 1 } }), 1);
}

describe("maskFeeds", () => {
  it("shows the given number of patches of each image, each at its position", () => {
    const given = fc.record({
      batch: fc.integer({ min: 1, max: 4 }),
      patches: fc.integer({ min: 1, max: 40 }),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(given, ({ batch, patches, share, seed }) => {
        const visible = Math.max(1, Math.floor(share * patches));
        const [random = Math.random] = randomStreams(seed, 1);
        const { visible_rows, restore_rows, masked } = maskFeeds(maskNoise(random, batch, patches), visible);
        assert.deepEqual(visible_rows?.shape, [batch * visible]);
        assert.deepEqual(restore_rows?.shape, [batch * patches]);
        assert.deepEqual(masked?.shape, [batch, patches]);
        for (let row = 0; row < batch; row++) {
          const own = Array.from(masked?.data ?? [], Number).slice(row * patches, (row + 1) * patches);
          assert.equal(own.filter((value) => value === 0).length, visible);
          own.forEach((value, patch) => {
            const place = Number(restore_rows?.data[row * patches + patch]);
            if (value === 1) assert.equal(place, batch * visible);
            else assert.equal(Number(visible_rows?.data[place]), row * patches + patch);
          });
        }
      }),
    );
  });

  it("shows the patches with the least noise, in the order of the noise", () => {
    const noise = Float32Array.of(0.9, 0.1, 0.5, 0.3, 0.2, 0.8, 0.1, 0.7);
    const feeds = maskFeeds({ type: "float32", shape: [2, 4], data: noise }, 2);
    assert.deepEqual(Array.from(feeds.visible_rows?.data ?? [], Number), [1, 3, 6, 4]);
    assert.deepEqual(Array.from(feeds.masked?.data ?? [], Number), [1, 0, 1, 0, 0, 1, 0, 1]);
    assert.deepEqual(Array.from(feeds.restore_rows?.data ?? [], Number), [4, 0, 4, 1, 3, 4, 2, 4]);
  });

  const counts: readonly (readonly [imageSize: number, maskRatio: number, visible: number])[] = [
    [224, 0.75, 196],
    [16, 0.75, 1],
    [24, 0.75, 2],
    [32, 0.6, 6],
  ];
  for (const [imageSize, maskRatio, visible] of counts) {
    it(`shows ${visible} patches of ${imageSize} pixels with a mask ratio of ${maskRatio}`, () => {
      assert.equal(visiblePatches(configWith({ imageSize, maskRatio })), visible);
    });
  }

  it("rejects a ratio that would leave no patch visible", () => {
    assert.throws(() => visiblePatches(configWith({ maskRatio: 0.8 })), {
      code: "unsupported_architecture",
      message: /'mask_ratio': 0\.8 leaves none of 4 patches visible/,
    });
  });
});

describe("maeGraph", () => {
  for (const [what, model] of [
    ["one patch seen", {}],
    ["several patches seen", { imageSize: 24 }],
  ] as const) {
    it(`has gradients for all tensors except positions, with ${what}`, () => {
      const config = configWith(model);
      const tensors = initialMae(config, 0);
      const { graph, trained } = maeGraph(config, weightsInMemory(tensors, "tiny"));
      const expected = Array.from(tensors.keys()).filter((name) => !name.endsWith("pos_embed"));
      assert.deepEqual(trained.slice().sort(), expected.sort());
      const outputs = new Set(graph.outputs.map(({ name }) => name));
      for (const name of trained) assert.ok(outputs.has(`gradient of ${name}`), name);
    });
  }

  it("has gradients only for trained tensors, or none without any", () => {
    const config = configWith({});
    const weights = weightsInMemory(initialMae(config, 0), "tiny");
    const some = maeGraph(config, weights, (name) => name.startsWith("norm."));
    assert.deepEqual(some.trained.slice().sort(), ["norm.bias", "norm.weight"]);
    const none = maeGraph(config, weights, () => false);
    assert.deepEqual(
      none.graph.outputs.map(({ name }) => name),
      ["logits", "loss", "mean_patch_loss"],
    );
  });
});
