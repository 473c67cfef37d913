import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import sharp from "sharp";
import { arrange } from "../../../../../models/recipe/data/images/draw-scene.js";
import { randomScene } from "../../../../../models/recipe/data/images/scene.js";
import { writeSceneSet } from "../../../../../models/recipe/data/images/scene-sets.js";
import { readConcepts } from "../../../../../models/recipe/data/text/concepts.js";
import { randomStreams } from "../../../../../src/core/random.js";
import { readLabelledImages } from "../../../../../src/fedmae.js";
import { readEvaluationData } from "../../../../../src/index.js";

const folder = mkdtempSync(join(tmpdir(), "epalm-scenes-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const files = ["captions.jsonl", "questions.jsonl", "question-types.jsonl", "labels.jsonl"];

describe("a set of scenes", () => {
  const options = { folder: join(folder, "one"), count: 12, side: 64, styles: "training", seed: 5 } as const;

  it("can be read by training and fine-tuning", async () => {
    await writeSceneSet(options);
    const captions = await readEvaluationData({ path: join(options.folder, "captions.jsonl") }, {});
    const questions = await readEvaluationData({ path: join(options.folder, "questions.jsonl") }, {});
    assert.deepEqual([captions.examples.length, questions.examples.length], [12, 36]);
    const labelled = await readLabelledImages([join(options.folder, "labels.jsonl")]);
    for (const { path, labels, regions = [] } of labelled) {
      const { width, height, format } = await sharp(path).metadata();
      assert.deepEqual([width, height, format], [64, 64, "jpeg"]);
      assert.equal(regions.length, Number(labels.count));
      const placed = Object.entries(labels).flatMap(([attribute, label]) => (/^at /.test(attribute) ? [label] : []));
      const named = labels.name === undefined ? placed : regions.map(() => labels.name);
      assert.deepEqual(regions.map(({ label }) => label).sort(), named.sort());
    }
  });

  it("is the same when it is written again or resumed", async () => {
    const again = { ...options, folder: join(folder, "two") };
    await writeSceneSet(again);
    unlinkSync(join(again.folder, "pictures", "000007.jpg"));
    await writeSceneSet(again);
    const read = (root: string, name: string) => readFileSync(join(root, name));
    const images = readdirSync(join(options.folder, "pictures")).map((name) => join("pictures", name));
    for (const name of [...files, ...images]) {
      assert.ok(read(options.folder, name).equals(read(again.folder, name)), name);
    }
  });
});

describe("the positions of objects", () => {
  it("are near their places and inside the image", () => {
    const concepts = readConcepts();
    for (let seed = 0; seed < 500; seed++) {
      const [random = Math.random] = randomStreams(seed, 1);
      const scene = randomScene(random, concepts);
      arrange(scene, 100, random).forEach(({ x, y, size }, index) => {
        const place = scene.objects[index]?.place ?? "middle";
        if (place.includes("left")) assert.ok(x < 50, place);
        if (place.includes("right")) assert.ok(x > 50, place);
        if (place.includes("top")) assert.ok(y < 50, place);
        if (place.includes("bottom")) assert.ok(y > 50, place);
        assert.ok(x - size / 2 > -3 && x + size / 2 < 103, `${x} ${size}`);
        assert.ok(y - size / 2 > -3 && y + size / 2 < 103, `${y} ${size}`);
      });
    }
  });
});
