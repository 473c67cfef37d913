import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { writeClipSet } from "../../../../../models/recipe/data/clips/clip-sets.js";
import { FILE_FRAMES } from "../../../../../models/recipe/data/clips/draw-clip.js";
import { readLabelledMedia } from "../../../../../models/recipe/data/labelled-media.js";
import { readEvaluationData } from "../../../../../src/index.js";
import { decodeVideo } from "../../../../../src/media/decode/video/decode-video.js";
import { imagenetPreprocessing } from "../../../../../src/preprocessing/image-preprocessing.js";
import { lacksEncoder } from "../../../../support/make-media.js";

const folder = mkdtempSync(join(tmpdir(), "epalm-clips-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const SIDE = 48;

describe("a set of clips", { skip: lacksEncoder("libx264") }, () => {
  const options = {
    folder: join(folder, "one"),
    count: 3,
    side: SIDE,
    styles: "held-out style",
    combinations: "training",
    seed: 5,
  } as const;
  const files = ["captions.jsonl", "questions.jsonl", "question-types.jsonl", "labels.jsonl"];

  it("can be read by training and evaluation", async () => {
    await writeClipSet(options);
    const read = (name: string) => readEvaluationData({ path: join(options.folder, name) }, {});
    const [captions, questions] = [await read("captions.jsonl"), await read("questions.jsonl")];
    assert.deepEqual([captions.examples.length, questions.examples.length], [3, 9]);
    const types = readFileSync(join(options.folder, "question-types.jsonl"), "utf8").trim().split("\n");
    assert.equal(types.length, 9);
    const labelled = readLabelledMedia(options.folder, "video");
    assert.deepEqual(
      labelled.map(({ path }) => path),
      captions.examples.map(({ media }) => media.path),
    );
    for (const { media } of captions.examples) {
      assert.equal(media.modality, "video");
      const frames = await decodeVideo(media.path, {
        frames: FILE_FRAMES,
        preprocessing: imagenetPreprocessing(SIDE),
      });
      assert.equal(frames.length, FILE_FRAMES);
      assert.notDeepEqual(frames[0], frames.at(-1));
    }
  });

  it("is the same when it is written again or resumed", async () => {
    const again = { ...options, folder: join(folder, "two") };
    await writeClipSet(again);
    unlinkSync(join(again.folder, "clips/000001.mp4"));
    await writeClipSet(again);
    const clips = readdirSync(join(options.folder, "clips")).map((name) => join("clips", name));
    assert.equal(clips.length, 3);
    for (const name of [...files, ...clips]) {
      const read = (root: string) => readFileSync(join(root, name));
      assert.ok(read(options.folder).equals(read(again.folder)), name);
    }
  });
});
