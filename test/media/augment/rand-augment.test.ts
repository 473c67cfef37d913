import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { randomStreams } from "../../../src/core/random.js";
import { operations, randAugment } from "../../../src/media/augment/rand-augment.js";

/** An image, and what OpenCV and Pillow make of it (see `make-fixtures.py` beside the file). */
const fixture: {
  readonly height: number;
  readonly width: number;
  readonly image: readonly number[];
  readonly results: Readonly<Record<keyof typeof operations, readonly number[]>>;
} = JSON.parse(readFileSync("test/fixtures/augment/rand-augment.json", "utf8"));

const { height, width } = fixture;
const image = { height, width, data: Uint8Array.from(fixture.image) };

/** Largest difference in steps of 1/255: OpenCV rounds positions to 1/32 of a pixel. */
const TOLERANCE = 1;

/** The magnitude 7 of 10, with which the expected values were computed. */
const LEVEL = 0.7;

describe("the operations of RandAugment", () => {
  for (const [name, operation] of Object.entries(operations)) {
    it(`'${name}' gives the values of OpenCV or Pillow`, () => {
      const { data } = operation(image, LEVEL, 1);
      const expected = fixture.results[name as keyof typeof operations];
      assert.equal(data.length, expected.length);
      const differences = expected.map((value, index) => Math.abs(value - (data[index] ?? Number.NaN)));
      const most = Math.max(...differences);
      assert.ok(most <= TOLERANCE, `the largest difference is ${most}`);
      if (name !== "identity") assert.notDeepEqual(data, image.data);
    });
  }

  it("leave the given image unchanged", () => {
    for (const operation of Object.values(operations)) operation(image, LEVEL, -1);
    assert.deepEqual(image.data, Uint8Array.from(fixture.image));
  });

  it("leave a uniform image as it is if they only change contrast", () => {
    const grey = { height, width, data: new Uint8Array(height * width * 3).fill(90) };
    const { autoContrast, equalize, sharpness } = operations;
    for (const { data } of [autoContrast(grey), equalize(grey), sharpness(grey, LEVEL)]) {
      assert.deepEqual(data, grey.data);
    }
  });
});

describe("RandAugment", () => {
  const settings = { operations: 2, magnitude: 7 };
  const drawn = (seed: number) => {
    const [random = Math.random] = randomStreams(seed, 1);
    return Buffer.from(randAugment(image, settings, random).data).toString("base64");
  };

  it("gives the same image for the same random numbers, and many images for different ones", () => {
    const images = Array.from({ length: 60 }, (_, seed) => drawn(seed));
    assert.deepEqual(
      images,
      Array.from({ length: 60 }, (_, seed) => drawn(seed)),
    );
    assert.ok(new Set(images).size > 20);
    // Two operations, each applied with probability 0.5, and one in ten is the identity: 30 % of images are unchanged.
    const unchanged = images.filter((one) => one === Buffer.from(image.data).toString("base64")).length;
    assert.ok(unchanged > 5 && unchanged < 35, String(unchanged));
  });
});
