import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sceneInputs } from "../../../../models/recipe/data/images/scene-inputs.js";
import { randomStreams } from "../../../../src/core/random.js";

const SIDE = 48;

describe("scenes that are drawn again each time", async () => {
  const { examples, patchLabels, input } = await sceneInputs({
    count: 30,
    side: SIDE,
    patchSide: 16,
    seed: 7,
  });
  const paint = async (index: number, seed: number) => {
    const [random = Math.random] = randomStreams(seed, 1);
    return Array.from((await input(index, random)).data);
  };

  it("are the same for the same random numbers and differ for others", async () => {
    assert.deepEqual(await paint(0, 1), await paint(0, 1));
    assert.notDeepEqual(await paint(0, 1), await paint(0, 2));
  });

  it("have the background of their label, in normalised values", async () => {
    const corners = async (index: number) => {
      const pixels = await paint(index, 3);
      assert.equal(pixels.length, 3 * SIDE * SIDE);
      assert.ok(pixels.every((value) => Math.abs(value) < 3));
      return [0, 1, 2].map((channel) => pixels[channel * SIDE * SIDE] ?? 0) as [number, number, number];
    };
    const plain = examples.map(({ labels }, index) => ({ labels, index }));
    const of = (color: string) =>
      plain.filter(({ labels }) => labels.background === color && labels.texture === "plain");
    let checked = 0;
    for (const { index } of of("red")) {
      const [red, green, blue] = await corners(index);
      assert.ok(red > green && red > blue, `${index}`);
      checked++;
    }
    for (const { index } of of("blue")) {
      const [red, green, blue] = await corners(index);
      assert.ok(blue > green && blue > red, `${index}`);
      checked++;
    }
    assert.ok(checked > 0);
  });

  it("label the middle patch with the object, but not the corners", async () => {
    const index = examples.findIndex(({ labels }) => labels.count === "1");
    const [random = Math.random] = randomStreams(4, 1);
    const patches = (await input(index, random)).patches?.get("regions");
    assert.equal(patches?.length, (SIDE / 16) ** 2);
    assert.equal(patchLabels?.get("regions")?.[patches[4] as number], examples[index]?.labels.name);
    for (const corner of [0, 2, 6, 8]) assert.equal(patches[corner], -1);
  });

  it("show an object in the middle if there is only one", async () => {
    const single = examples.findIndex(({ labels }) => labels.count === "1" && labels.texture === "plain");
    const pixels = await paint(single, 4);
    const middle = pixels.slice(SIDE * (SIDE / 2), SIDE * (SIDE / 2 + 1));
    assert.ok(Math.max(...middle) - Math.min(...middle) > 0.5, "nothing is drawn");
  });
});
