import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import { buildModel, load, readManifest } from "../../../src/index.js";
import { epalm, temporaryFolder } from "../../support/cli-process.js";
import { makeMedia, threeColours, tone } from "../../support/make-media.js";
import { severalModel } from "../../support/several-model.js";

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const model = at("model");
const few = ["--model", model, "--max-tokens", "4", "--threads", "1"];
const [picture, sound, clip, mute] = [at("red.png"), at("tone.mp3"), at("colours.mp4"), at("mute.mp4")];

before(async () => {
  await buildModel(severalModel(model));
  const create = { width: 20, height: 20, channels: 3 as const, background: "red" };
  await sharp({ create }).png().toFile(picture);
  writeFileSync(sound, makeMedia("tone.mp3", ...tone));
  const withSound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=3", "-c:a", "aac"];
  writeFileSync(clip, makeMedia("colours.mp4", ...threeColours, ...withSound, "-c:v", "mpeg4"));
  writeFileSync(mute, makeMedia("mute.mp4", ...threeColours, "-c:v", "mpeg4"));
});

const linesOf = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("a model for images, audio and video, on the command line", () => {
  it("interprets each file by its content", async () => {
    const { code, stdout, stderr } = await epalm(["caption", picture, sound, ...few, "--json"]);
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      linesOf(stdout).map(({ file, modality, adapter }) => [file, modality, adapter]),
      [
        [picture, "image", "pictures"],
        [sound, "audio", "sounds"],
      ],
    );
  });

  it("uses the audio track of a video with --modality audio", async () => {
    const seen = await epalm(["vqa", clip, "-q", "what?", ...few, "--json"]);
    assert.equal(linesOf(seen.stdout)[0].modality, "video", seen.stderr);
    const heard = await epalm(["caption", clip, "--modality", "audio", ...few, "--json"]);
    assert.equal(linesOf(heard.stdout)[0].modality, "audio", heard.stderr);
    const silent = await epalm(["caption", mute, "--modality", "audio", ...few]);
    assert.equal(silent.code, 1);
    assert.match(silent.stderr, /mute\.mp4: has no audio track\n$/);
  });

  it("answers the questions in a file, and resumes", async () => {
    const rows = [
      { image: "red.png", question: "what colour?" },
      { video: "colours.mp4", question: "what colour?" },
      { video: "gone.mp4", question: "what colour?" },
    ];
    writeFileSync(at("questions.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const output = at("answers.jsonl");
    const args = ["vqa", "--questions", at("questions.jsonl"), ...few, "--output", output];
    assert.equal((await epalm(args)).code, 1);
    const [one, two, three] = linesOf(readFileSync(output, "utf8"));
    assert.deepEqual([one.modality, two.modality, three.error.code], ["image", "video", "not_found"]);
    writeFileSync(at("gone.mp4"), readFileSync(mute));
    const again = await epalm(args);
    assert.match(again.stderr, /2 of 3 were already answered/);
    assert.deepEqual(
      linesOf(readFileSync(output, "utf8")).map(({ file, modality }) => [file, modality]),
      [
        ["red.png", "image"],
        ["colours.mp4", "video"],
        ["gone.mp4", "video"],
      ],
    );
    writeFileSync(at("questions.jsonl"), '{"image":"a.png","audio":"a.wav","question":"x"}\n');
    const both = await epalm(args);
    assert.match(both.stderr, /questions\.jsonl:1: expected one of 'image', 'audio', 'video', got 2/);
  });

  for (const [modality, file, adapter] of [
    ["audio", "tone.mp3", "listener"],
    ["video", "colours.mp4", "watcher"],
  ] as const) {
    it(`trains, uses and scores an adapter for ${modality}, also as a text-only baseline`, async () => {
      const rows = [
        { [modality]: file, caption: "a short one" },
        { [modality]: file, question: "long?", answer: "no" },
      ];
      writeFileSync(at(`${modality}.jsonl`), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
      const config = {
        model: "model",
        output: `runs/${modality}`,
        data: { train: { path: `${modality}.jsonl` }, validation: { path: `${modality}.jsonl` } },
        adapter: { name: adapter, injectedStates: 2, startLayer: 3, endLayer: 6 },
        optimizer: { learningRate: 0.01 },
        epochs: 6,
        batchSize: 2,
      };
      writeFileSync(at(`${modality}.json`), JSON.stringify(config));
      const trained = await epalm(["train", at(`${modality}.json`)]);
      assert.equal(trained.code, 0, trained.stderr);
      const losses = linesOf(readFileSync(at(`runs/${modality}/log.jsonl`), "utf8")).flatMap((line) =>
        line.kind === "step" ? [line.tokenLoss] : [],
      );
      assert.ok(losses.at(-1) < losses[0], `the loss falls: ${losses}`);
      assert.equal(readManifest(model).adapters[adapter]?.modality, modality);
      const answer = await epalm(["caption", at(file), ...few, "--adapter", adapter, "--json"]);
      assert.equal(linesOf(answer.stdout)[0].modality, modality, answer.stderr);
      const scoring = ["eval", at(`${modality}.jsonl`), ...few, "--adapter", adapter, "--json"];
      for (const more of [[], ["--blind"]]) {
        const scored = await epalm([...scoring, ...more]);
        assert.equal(JSON.parse(scored.stdout).examples, 2, scored.stderr);
      }
    });
  }

  it("rejects training data of another modality, with the line or key", async () => {
    const rows = [
      { audio: "tone.mp3", caption: "a tone" },
      { image: "red.png", caption: "red" },
    ];
    writeFileSync(at("mixed.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const settings = {
      model: "model",
      output: "runs/refused",
      data: { train: { path: "mixed.jsonl" } },
      adapter: { injectedStates: 2, startLayer: 3, endLayer: 6 },
    };
    const refused = async (change: object) => {
      writeFileSync(at("refused.json"), JSON.stringify({ ...settings, ...change }));
      const { code, stderr } = await epalm(["train", at("refused.json")]);
      assert.notEqual(code, 0, stderr);
      return stderr;
    };
    assert.match(await refused({}), /mixed\.jsonl:2: expected 'audio', which the adapter is for, got 'image'/);
    writeFileSync(at("mixed.jsonl"), `${JSON.stringify(rows[0])}\n`);
    assert.match(await refused({ augmentations: 2 }), /augmentations: expected 0 for audio, or 'augment', got 2/);
  });

  it("rejects an image with an audio model", async () => {
    const only = at("hears");
    const { encoder, otherEncoders = [], adapters, ...rest } = severalModel(only);
    const [audio = encoder] = otherEncoders;
    const own = adapters.filter(({ name }) => name === "sounds");
    await buildModel({ ...rest, encoder: audio, otherEncoders: [], adapters: own });
    const { code, stderr } = await epalm(["caption", picture, "--model", only]);
    assert.equal(code, 1);
    assert.match(stderr, /red\.png: expected audio or video/);
    const loaded = await load(only, { threads: 1 });
    assert.deepEqual(loaded.modalities, ["audio"]);
    await loaded.close();
  });
});
