import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { withOutputBlock } from "../../../models/recipe/encoders/output-block.js";
import { randomStreams } from "../../../src/core/random.js";
import type { Tensor } from "../../../src/tensor/tensor.js";
import { normal } from "../../../src/training/distributions.js";
import { encoderStates, randomWeights, vitConfig } from "../../support/tiny-encoders.js";

describe("an encoder with an output block", () => {
  const tensors = randomWeights(vitConfig);
  const deeper = { ...vitConfig, num_hidden_layers: vitConfig.num_hidden_layers + 1 };
  const added = withOutputBlock(tensors, vitConfig.num_hidden_layers);
  // The tensors that can start from random values are random.
  const all = new Map([...randomWeights(deeper), ...added]);

  it("has all tensors of a deeper encoder except those that can start from random values", () => {
    const shapes = (of: ReadonlyMap<string, Tensor>) =>
      Array.from(of, ([name, { shape }]) => `${name} ${shape}`).sort();
    assert.deepEqual(shapes(all), shapes(randomWeights(deeper)));
    const left = Array.from(all.keys()).filter((name) => !added.has(name));
    assert.ok(left.length > 0 && left.every((name) => /^blocks\.2\.(attn\.qkv|mlp\.fc1)\./.test(name)), left.join());
  });

  it("is rejected if the encoder has another depth or no final norm", () => {
    const message = (name: string) => ({
      code: "invalid_checkpoint",
      message: `encoder: tensor ${name} is missing`,
    });
    assert.throws(() => withOutputBlock(tensors, 5), message("blocks.4.attn.proj.weight"));
    const without = new Map(Array.from(tensors).filter(([name]) => name !== "norm.weight"));
    assert.throws(() => withOutputBlock(without, vitConfig.num_hidden_layers), message("norm.weight"));
  });

  it("keeps the states of all blocks and repeats the last one", async () => {
    const { hidden_size: width, num_hidden_layers: depth, image_size: side } = vitConfig;
    const [random = Math.random] = randomStreams(4, 1);
    const shape = [2, 3, side, side];
    const pixels = { type: "float32" as const, shape, data: normal(random, shape, 1) };
    const before = await encoderStates(vitConfig, tensors, pixels);
    const after = await encoderStates(deeper, all, pixels);
    assert.deepEqual(
      [before.shape, after.shape],
      [
        [2, depth, width],
        [2, depth + 1, width],
      ],
    );
    for (let image = 0; image < 2; image++) {
      for (let block = 0; block <= depth; block++) {
        for (let i = 0; i < width; i++) {
          const value = Number(after.data[(image * (depth + 1) + block) * width + i]);
          const known = Number(before.data[(image * depth + Math.min(block, depth - 1)) * width + i]);
          assert.ok(Math.abs(value - known) < 1e-3, `image ${image}, block ${block}: ${value}, ${known}`);
        }
      }
    }
  });
});
