import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import { stringify } from "yaml";
import { readEvaluationData, readTrainingConfig } from "../../../src/index.js";
import { score } from "../../../src/training/adapter/evaluate.js";
import { namedScores } from "../../../src/training/adapter/evaluate-model.js";
import type { Example } from "../../../src/training/data/example.js";
import { temporaryFolder } from "../../support/temporary-folder.js";

/** Files in the official formats, which contain a few entries of each data set. */
const fixtures = "test/fixtures/data-sets";
const folder = temporaryFolder();
const at = (name: string) => join(folder, name);

const images = [
  ...["coco/images/val2014/COCO_val2014_000000391895.jpg", "coco/images/val2014/COCO_val2014_000000522418.jpg"],
  ...["coco/images/val2014/COCO_val2014_000000184613.jpg", "coco/images/train2014/COCO_train2014_000000574769.jpg"],
  ...["gqa/images/2354786.jpg", "gqa/images/n161313.jpg"],
];
const videos = [
  ...["msr-vtt/TrainValVideo/video0.mp4", "msr-vtt/TrainValVideo/video1.webm", "msr-vtt/TrainValVideo/video6513.mov"],
  ...["msvd/YouTubeClips/-4wsuPCjDBc_5_15.avi", "msvd/YouTubeClips/-7KMZQEsJW4_205_208.avi"],
  "msvd/YouTubeClips/-_hbPLsZvvo_5_8.avi",
];

before(async () => {
  cpSync(fixtures, folder, { recursive: true });
  const image = await sharp({ create: { width: 8, height: 8, channels: 3, background: "red" } })
    .jpeg()
    .toBuffer();
  for (const name of [...images, ...videos]) mkdirSync(dirname(at(name)), { recursive: true });
  for (const name of images) writeFileSync(at(name), image);
  for (const name of videos) copyFileSync("test/fixtures/media/h264.mp4", at(name));
});

/** The examples of `data.train` of a config file, as a user writes it. */
async function read(train: object, options: { skipBad?: boolean } = {}) {
  writeFileSync(
    at("config.yaml"),
    stringify({
      ...{ model: "model", output: "run", data: { train } },
      adapter: { injectedStates: 1, startLayer: 0, endLayer: 1 },
    }),
  );
  return readEvaluationData(readTrainingConfig(at("config.yaml")).data.train, options);
}

/** File, captions or question, and answers of each example. */
function shown(examples: readonly Example[]): unknown[] {
  return examples.map((example) => [
    example.media.path.slice(folder.length + 1),
    ...(example.kind === "caption" ? example.captions : [example.question, example.answers, example.metric]),
  ]);
}

describe("Karpathy's dataset_coco.json", () => {
  const karpathy = { path: "coco/dataset_coco.json", media: "coco/images" };
  const [test, rest, validation, train] = [
    [images[0], "A man with a red helmet.", "Man riding a bike."],
    [images[1], "A woman cuts a cake."],
    [images[2], "A child holds an umbrella."],
    [images[3], "A cat in a kitchen."],
  ];

  it("gives the images of a split, with restval as part of train", async () => {
    assert.deepEqual(shown((await read({ ...karpathy, split: "train" })).examples), [rest, train]);
    assert.deepEqual(shown((await read({ ...karpathy, split: "val" })).examples), [validation]);
    assert.deepEqual(shown((await read({ ...karpathy, split: ["test", "restval"] })).examples), [test, rest]);
    assert.deepEqual(shown((await read(karpathy)).examples), [test, rest, validation, train]);
  });

  it("names the splits of the file if another one is chosen", async () => {
    await assert.rejects(read({ ...karpathy, split: "validation" }), {
      code: "invalid_option",
      message: /split: expected 'test' or 'restval' or 'val' or 'train', got 'validation'$/,
    });
  });

  it("lists images that are missing, and skips them on request", async () => {
    const path = at("coco/other.json");
    const sentences = [{ raw: "x" }];
    const gone = { split: "train", filename: "gone.jpg", sentences };
    const here = { split: "train", filepath: "val2014", filename: "COCO_val2014_000000391895.jpg", sentences };
    writeFileSync(path, JSON.stringify({ images: [gone, here, { split: "train", filename: "a.jpg", sentences: [] }] }));
    const source = { ...karpathy, path, split: "train" };
    await assert.rejects(read(source), {
      code: "invalid_data",
      message:
        /2 of 3 examples cannot be used: .*images\[0\]: 'image': .*gone\.jpg: no such file; .*images\[2\]: 'sentences'/,
    });
    const { examples, skipped } = await read(source, { skipBad: true });
    assert.deepEqual([examples.length, skipped.length], [1, 2]);
  });
});

describe("GQA", () => {
  it("gives questions with their short answers, scored by exact match", async () => {
    const { examples } = await read({ path: "gqa/train_balanced_questions.json", media: "gqa/images" });
    assert.deepEqual(
      new Set(shown(examples)),
      new Set([
        ["gqa/images/2354786.jpg", "Is the sky dark?", ["yes"], "exact-match"],
        ["gqa/images/n161313.jpg", "What is on the white wall?", ["pipe"], "exact-match"],
      ]),
    );
    const answered = ["Yes.", "a pipeline"].map((prediction, index) => {
      const references = [["yes"], ["pipe"]][index] ?? [];
      const question = { id: "", media: "", modality: "image", question: "", metric: "exact-match" } as const;
      return { kind: "vqa", ...question, references, prediction } as const;
    });
    assert.deepEqual(namedScores(score(answered)), { "exact match": 0.5 });
  });

  it("is rejected without answers, as in the test sets", async () => {
    writeFileSync(at("gqa/test.json"), JSON.stringify({ 1: { imageId: "2354786", question: "Is it?" } }));
    await assert.rejects(read({ path: "gqa/test.json", media: "gqa/images" }), { message: /question 1: 'answer'/ });
  });
});

describe("MSR-VTT", () => {
  const captions = { path: "msr-vtt/train_val_videodatainfo.json", media: "msr-vtt/TrainValVideo" };

  it("gives the videos of a split with their captions, whatever the type of the files", async () => {
    assert.deepEqual(shown((await read({ ...captions, split: "train" })).examples), [
      [videos[0], "a car is shown", "a group is dancing"],
      [videos[1], "a man drives a vehicle through the countryside"],
    ]);
    assert.equal((await read({ ...captions, split: ["train", "validate"] })).examples.length, 3);
  });

  it("gives the videos of a list", async () => {
    writeFileSync(at("msr-vtt/7k.txt"), "video6513\nvideo1.mp4\n\nvideo9999\n");
    const { examples } = await read({ ...captions, list: "msr-vtt/7k.txt" });
    assert.deepEqual(
      examples.map(({ media }) => media.path),
      [videos[1], videos[2]].map((name) => at(name ?? "")),
    );
  });

  it("gives the questions of MSRVTT-QA, scored by exact match", async () => {
    const { examples } = await read({ path: "msr-vtt-qa/train_qa.json", media: "msr-vtt" });
    assert.deepEqual(shown(examples), [
      [videos[0], "what do a group of people do?", ["dance"], "exact-match"],
      [videos[2], "what is shown?", ["car"], "exact-match"],
    ]);
  });
});

describe("MSVD", () => {
  const media = "msvd/YouTubeClips";

  it("gives the videos with all captions, or those of a list", async () => {
    const { examples } = await read({ path: "msvd/AllVideoDescriptions.txt", media });
    assert.deepEqual(shown(examples), [
      [videos[3], "a squirrel is eating a peanut in it's shell", "a chipmunk is eating"],
      [videos[4], "a man is playing a guitar"],
      [videos[5], "a dog is barking"],
    ]);
    const listed = await read({ path: "msvd/AllVideoDescriptions.txt", media, list: "msvd/train_list.txt" });
    assert.deepEqual(shown(listed.examples), [shown(examples)[0], shown(examples)[2]]);
  });

  it("gives the questions of MSVD-QA, with the names of videos in youtube_mapping.txt", async () => {
    const { examples } = await read({ path: "msvd-qa/train_qa.json", media });
    assert.deepEqual(shown(examples), [
      [videos[3], "what is chewing on a nut?", ["animal"], "exact-match"],
      [videos[4], "who is playing a guitar?", ["man"], "exact-match"],
    ]);
  });
});

describe("AudioCaps", () => {
  const source = { path: "audiocaps/train.csv", media: "audiocaps/audios" };

  it("gives clips with their captions under the usual names of audio files", async () => {
    const names = ["train/r1nicOVtvkQ.wav", "train/Y--L22BmDI6E.mp3", "train/WwkcHqpzFT8_180.flac"];
    const captions = [
      "A woman talks nearby as water pours",
      'A dog barks, and then a man says "stop"',
      "Multiple clanging and clanking sounds",
    ];
    for (const name of names) {
      mkdirSync(dirname(at(join(source.media, name))), { recursive: true });
      copyFileSync("test/fixtures/media/tone.wav", at(join(source.media, name)));
    }
    const { examples } = await read(source);
    assert.deepEqual(
      shown(examples),
      names.map((name, index) => [join(source.media, name), captions[index]]),
    );
  });

  for (const name of [
    ...["Yvfy_TJq7n_U_130.wav", "vfY_TJq7n_U_130_140.ogg", "vfY_TJq7n_U_130000_140000.flac"],
    ...["YvfY_TJq7n_U_000130.wav", "97151.wav", "vfY_TJq7n_U.mp4"],
  ]) {
    it(`gives one example with all captions of a clip, whose file is ${name}`, async () => {
      const media = `audiocaps/${name}.folder`;
      mkdirSync(at(media));
      const type = name.endsWith("mp4") ? "webm" : "wav";
      const file = name.replace(/^Yvfy/, "YvfY");
      copyFileSync(`test/fixtures/media/tone.${type}`, at(join(media, file)));
      const { examples } = await read({ path: "audiocaps/val.csv", media });
      assert.deepEqual(shown(examples), [
        [join(media, file), "Rustling occurs, ducks quack and water splashes", "Ducks quack while water splashes"],
      ]);
    });
  }

  it("lists clips that could not be downloaded, and skips them on request", async () => {
    const path = at("audiocaps/more.csv");
    writeFileSync(
      path,
      "audiocap_id,youtube_id,start_time,caption\r\n1,gone,0,x\r\n2,r1nicOVtvkQ,130,y\r\n3,bad,,\r\n",
    );
    await assert.rejects(read({ ...source, path }), {
      message: /2 of 3 examples cannot be used: .*row 3: .*'caption'.*row 1: 'audio': .*gone\.wav: no such file/,
    });
    assert.deepEqual(shown((await read({ ...source, path }, { skipBad: true })).examples), [
      [join(source.media, "train/r1nicOVtvkQ.wav"), "y"],
    ]);
  });

  it("names a missing column, a wrong quote and a missing folder", async () => {
    const cases = [
      ["youtube_id,text\na,b\n", source.media, /expected the column 'caption' in the first line/],
      ['youtube_id,caption\na,"b\n', source.media, /is not CSV: /],
      ["youtube_id,caption\na,b\n", "nowhere", /media: .*nowhere: cannot be listed/],
    ] as const;
    for (const [content, media, message] of cases) {
      writeFileSync(at("odd.csv"), content);
      await assert.rejects(read({ path: "odd.csv", media }), { message });
    }
  });
});

describe("the annotations published with eP-ALM", () => {
  it("give captions and questions of media that are found in the folder and below", async () => {
    const cases = [
      [
        { path: "epalm/msrvtt_caption_train7k.json", media: "msr-vtt" },
        [
          [videos[0], "a car is shown", "a group is dancing"],
          [videos[2], "a cartoon animal runs"],
        ],
      ],
      [
        { path: "epalm/msvd_vqa_train.json", media: "msvd" },
        [[videos[3], "what is chewing on a nut?", ["animal"], "exact-match"]],
      ],
      [
        { path: "epalm/karpathy_train.json", media: "coco/images" },
        [
          [images[0], "What is behind him?", ["net", "net", "net", "net", "netting"], undefined],
          [images[0], "What is it?", [""], undefined],
        ],
      ],
    ] as const;
    for (const [source, expected] of cases) assert.deepEqual(shown((await read(source)).examples), expected);
  });
});

describe("the format of a data set", () => {
  it("can be given, and settings of other formats are rejected", async () => {
    const cases = [
      [{ path: "gqa/train_balanced_questions.json", split: "train" }, /'split' does not apply to gqa/],
      [{ path: "coco/dataset_coco.json", format: "gqa" }, /cannot be used/],
      [{ path: "coco/dataset_coco.json", format: "text-folder" }, /expected a folder for text-folder, got a file/],
      [{ path: "vqa-v2/vqa-questions.json" }, /'annotations' is required for vqa-v2/],
    ] as const;
    for (const [source, message] of cases) await assert.rejects(read(source), { message });
  });
});
