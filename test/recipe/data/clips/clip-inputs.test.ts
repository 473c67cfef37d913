import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { clipInputs } from "../../../../models/recipe/data/clips/clip-inputs.js";
import { randomStreams } from "../../../../src/core/random.js";

const [SIDE, PATCH, FRAMES] = [64, 8, 4];
const PER_SIDE = SIDE / PATCH;

describe("patches of clips", async () => {
  const { examples, patchLabels, input } = await clipInputs({
    ...{ count: 200, seed: 1, side: SIDE, patchSide: PATCH, frames: FRAMES },
  });

  /** The label of each patch, by attribute. */
  async function shown(index: number): Promise<Readonly<Record<string, readonly (string | undefined)[]>>> {
    const [random = Math.random] = randomStreams(7, 1);
    const { patches } = await input(index, random);
    return Object.fromEntries(
      Array.from(patchLabels ?? [], ([attribute, labels]) => [
        attribute,
        Array.from(patches?.get(attribute) ?? [], (place) => labels[place]),
      ]),
    );
  }

  /**
   * The mean place of the labelled patches in each frame. The order of patches is place after place, with the frames of
   * each place together.
   */
  function middles(patches: readonly (string | undefined)[]) {
    return Array.from({ length: FRAMES }, (_, frame) => {
      const places = patches.flatMap((label, at) =>
        label !== undefined && at % FRAMES === frame ? [Math.floor(at / FRAMES)] : [],
      );
      const mean = (of: (place: number) => number) => places.reduce((sum, place) => sum + of(place), 0) / places.length;
      return { x: mean((place) => place % PER_SIDE), y: mean((place) => Math.floor(place / PER_SIDE)) };
    });
  }

  it("show the position of an object in each frame, and its action", async () => {
    const fast = examples.flatMap(({ labels }, index) => (labels.pace === "fast" ? [index] : []));
    const directions = new Set<string | undefined>();
    for (const index of fast) {
      const { name, direction } = examples[index]?.labels ?? {};
      const { regions = [], movements = [] } = await shown(index);
      assert.equal(regions.length, PER_SIDE * PER_SIDE * FRAMES);
      assert.deepEqual(new Set(regions), new Set([undefined, name]));
      assert.deepEqual(new Set(movements), new Set([undefined, `fast ${direction}`]));
      const way = middles(regions);
      const [first = { x: 0, y: 0 }, last = first] = [way[0], way.at(-1)];
      const moved = {
        left: first.x - last.x,
        right: last.x - first.x,
        up: first.y - last.y,
        down: last.y - first.y,
      };
      assert.ok(moved[direction as keyof typeof moved] > 1, `${index}: ${direction}, ${JSON.stringify(way)}`);
      directions.add(direction);
    }
    assert.equal(directions.size, 4);
  });

  it("do not show an object before it appears", async () => {
    const index = examples.findIndex(({ labels }) => labels.action === "appears");
    const { movements = [] } = await shown(index);
    const frames = (label: string) =>
      new Set(movements.flatMap((movement, at) => (movement === label ? [at % FRAMES] : [])));
    assert.deepEqual(frames("is first"), new Set([0, 1, 2, 3]));
    assert.ok(!frames("appears").has(0) && frames("appears").has(3));
  });

  it("show whether an object is there in the previous, this and the next frame", async () => {
    for (const index of examples.keys()) {
      const { regions = [], changes = [] } = await shown(index);
      for (let patch = 0; patch < regions.length; patch++) {
        const frame = patch % FRAMES;
        const before = regions[frame === 0 ? patch : patch - 1];
        const after = regions[frame === FRAMES - 1 ? patch : patch + 1];
        const there = [
          ...(before === undefined ? [] : ["before"]),
          ...(regions[patch] === undefined ? [] : ["now"]),
          ...(after === undefined ? [] : ["after"]),
        ];
        assert.equal(changes[patch] ?? "", there.join(" and "));
      }
    }
  });
});
