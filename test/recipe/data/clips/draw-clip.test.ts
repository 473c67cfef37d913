import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Actor, arrangeClip } from "../../../../models/recipe/data/clips/arrange-clip.js";
import { type ClipEvent, type ClipScene, headings, paces } from "../../../../models/recipe/data/clips/clip-scene.js";
import { drawClip, FILE_FRAMES, takenTimes } from "../../../../models/recipe/data/clips/draw-clip.js";
import { IconRasters } from "../../../../models/recipe/data/images/icon-looks.js";
import type { PaintedImage } from "../../../../models/recipe/data/images/paint.js";
import { type Concept, readDrawableConcepts } from "../../../../models/recipe/data/text/concepts.js";
import { randomStreams } from "../../../../src/core/random.js";

const SIDE = 64;
const SEEDS = [0, 1, 2, 3, 4, 5];
const concepts = readDrawableConcepts();
const rasters = new IconRasters();

function conceptOf(name: string): Concept {
  const concept = concepts.find((one) => one.name === name);
  assert.ok(concept, name);
  return concept;
}

const [thing, other] = [conceptOf("red apple"), conceptOf("rocket")];

function draw(event: ClipEvent, seed: number): Promise<PaintedImage[]> {
  const [random = Math.random] = randomStreams(seed, 1);
  return drawClip({ background: "blue", event }, { rasters, side: SIDE, random });
}

/** Sum of the channels' differences from the background, larger than its jitter and noise. */
const NOTICED = 100;

/** Centre and area of what differs from the background, which is the median of the pixels at three edges. */
function seen({ pixels }: PaintedImage): { readonly x: number; readonly y: number; readonly area: number } {
  const at = (pixel: number) => [0, 1, 2].map((c) => pixels[3 * pixel + c] ?? 0);
  const edge = Array.from({ length: SIDE }, (_, i) => [i, SIDE * (SIDE - 1) + i, SIDE * i]).flat();
  const background = [0, 1, 2].map(
    (c) => edge.map((pixel) => at(pixel)[c] ?? 0).sort((a, b) => a - b)[edge.length / 2] ?? 0,
  );
  let [x, y, area] = [0, 0, 0];
  for (let pixel = 0; pixel < SIDE * SIDE; pixel++) {
    const difference = at(pixel).reduce((sum, value, c) => sum + Math.abs(value - (background[c] ?? 0)), 0);
    if (difference < NOTICED) continue;
    x += pixel % SIDE;
    y += Math.floor(pixel / SIDE);
    area++;
  }
  return { x: x / area, y: y / area, area };
}

const ends = (frames: readonly PaintedImage[]) =>
  [frames[0], frames.at(-1)].map((frame) => seen(frame as PaintedImage));

describe("a clip", () => {
  it("has the same frames for the same seed and different frames for another seed", async () => {
    const event: ClipEvent = { action: "turns", thing };
    const frames = await draw(event, 1);
    assert.equal(frames.length, FILE_FRAMES);
    assert.deepEqual(await draw(event, 1), frames);
    assert.notDeepEqual(await draw(event, 2), frames);
  });

  for (const direction of headings) {
    it(`moves an object in direction '${direction}', slowly or quickly`, async () => {
      for (const seed of SEEDS) {
        for (const pace of paces) {
          const [start, end] = ends(await draw({ action: "moves", thing, direction, pace }, seed));
          assert.ok(start && end && start.area > 0);
          const [right, down] = [(end.x - start.x) / SIDE, (end.y - start.y) / SIDE];
          const way = { left: -right, right, up: -down, down }[direction];
          const aside = direction === "up" || direction === "down" ? right : down;
          const [least, most] = pace === "slow" ? [0.1, 0.25] : [0.42, 0.65];
          assert.ok(way > least && way < most, `seed ${seed}, ${pace}: ${way}`);
          assert.ok(Math.abs(aside) < 0.05, `seed ${seed}: ${aside} aside`);
        }
      }
    });
  }

  it("makes objects grow and shrink", async () => {
    for (const seed of SEEDS) {
      for (const action of ["grows", "shrinks"] as const) {
        const [start, end] = ends(await draw({ action, thing }, seed));
        assert.ok(start && end);
        const [small, large] = action === "grows" ? [start, end] : [end, start];
        assert.ok(large.area > 3 * small.area, `seed ${seed}: from ${start.area} to ${end.area}`);
      }
    }
  });

  it("keeps turning objects in place and does not change still ones", async () => {
    for (const seed of SEEDS) {
      const changeOf = async (event: ClipEvent) => {
        const frames = await draw(event, seed);
        const [start, end] = ends(frames);
        assert.ok(start && end);
        assert.ok(Math.hypot(end.x - start.x, end.y - start.y) < 0.12 * SIDE, `seed ${seed}`);
        const [first, middle] = [frames[0]?.pixels ?? [], frames[FILE_FRAMES / 2]?.pixels ?? []];
        let change = 0;
        first.forEach((value, i) => {
          change += Math.abs(value - (middle[i] ?? 0));
        });
        return change / start.area;
      };
      const turning = await changeOf({ action: "turns", thing: other });
      const still = await changeOf({ action: "stays", thing: other });
      assert.ok(turning > 2 * still, `seed ${seed}: ${turning}, ${still}`);
    }
  });

  it("shows a second object only after the encoder's first frame and before its last", async () => {
    const event: ClipEvent = { action: "appears", first: thing, second: other };
    for (const seed of SEEDS) {
      const [start, end] = ends(await draw(event, seed));
      assert.ok(start && end && end.area > 1.4 * start.area, `seed ${seed}: ${start?.area}, ${end?.area}`);
      const [random = Math.random] = randomStreams(seed, 1);
      const second: Actor | undefined = arrangeClip({ background: "blue", event }, SIDE, random)[1];
      const there: boolean[] = takenTimes(4).map((time) => second?.at(time) !== undefined);
      assert.deepEqual([there[0], there.at(-1)], [false, true]);
    }
  });

  it("keeps all objects inside the image", () => {
    const events: ClipEvent[] = [
      { action: "moves", thing, direction: "left", pace: "fast" },
      { action: "moves", thing, direction: "down", pace: "slow" },
      { action: "grows", thing },
      { action: "stays", thing },
      { action: "appears", first: thing, second: other },
    ];
    for (const event of events) {
      const scene: ClipScene = { background: "red", event };
      for (let seed = 0; seed < 100; seed++) {
        const [random = Math.random] = randomStreams(seed, 1);
        for (const actor of arrangeClip(scene, 100, random)) {
          for (const { x, y, size } of [0, 0.5, 1].flatMap((time) => actor.at(time) ?? [])) {
            const edges = [x - size / 2, y - size / 2, 100 - x - size / 2, 100 - y - size / 2];
            assert.ok(Math.min(...edges) > -3, `${event.action}, seed ${seed}: ${edges}`);
          }
        }
      }
    }
  });
});
