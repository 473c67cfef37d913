import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import {
  buildModel,
  evaluateModel,
  load,
  readEvaluationData,
  readTrainingConfig,
  type TrainingPlan,
  trainModel,
} from "../../../../src/index.js";
import { mean } from "../../../../src/training/metrics/mean.js";
import { makeMedia } from "../../../support/make-media.js";
import { severalModel } from "../../../support/several-model.js";
import { lossesOf, writeTrainingConfig } from "../../../support/training-config.js";

const temporary = mkdtempSync(join(tmpdir(), "epalm-senses-"));
after(() => rmSync(temporary, { recursive: true, force: true }));

const at = (name: string) => join(temporary, name);

/** Two easily distinguished kinds of each medium. */
const kinds = {
  audio: {
    ending: "wav",
    make: (index: number) => {
      const source = index % 2 === 0 ? `sine=f=${300 + 10 * index}:d=0.5` : `anoisesrc=d=0.5:seed=${index}`;
      return makeMedia("sound.wav", "-f", "lavfi", "-i", source, "-ar", "16000");
    },
    captions: ["a tone", "only noise"],
  },
  video: {
    ending: "mp4",
    make: (index: number) => {
      const colour = index % 2 === 0 ? "white" : "black";
      const source = `color=c=${colour}:s=${32 + 2 * index}x32:r=5:d=1`;
      return makeMedia("clip.mp4", "-f", "lavfi", "-i", source, "-c:v", "mpeg4");
    },
    captions: ["all white", "quite dark"],
  },
} as const;

type Kind = keyof typeof kinds;

function config(name: string, data: string, changes: object = {}, adapter: object = {}): string {
  return writeTrainingConfig(temporary, name, {
    data: { train: { path: `${data}.jsonl` }, validation: { path: `${data}-held-out.jsonl` } },
    adapter: { name, injectedStates: 2, startLayer: 3, endLayer: 6, ...adapter },
    optimizer: { learningRate: 0.02, promptLearningRate: 0.02 },
    epochs: 8,
    ...changes,
  });
}

function writeLines(name: string, lines: readonly object[]): void {
  writeFileSync(at(`${name}.jsonl`), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

before(async () => {
  for (const [kind, { ending, make, captions }] of Object.entries(kinds)) {
    const lines = Array.from({ length: 8 }, (_, index) => {
      const file = `${kind}-${index}.${ending}`;
      writeFileSync(at(file), make(index));
      const caption = captions[index % 2] ?? "";
      return index < 5 ? { [kind]: file, caption } : { [kind]: file, question: "what is it?", answer: caption };
    });
    writeLines(kind, lines.slice(0, 6));
    writeLines(`${kind}-held-out`, [...lines.slice(3, 4), ...lines.slice(6)]);
  }
  await sharp({ create: { width: 20, height: 20, channels: 3, background: "red" } })
    .png()
    .toFile(at("red.png"));
  // With int8, answers would depend slightly on the other sequences of their batch.
  const plan = severalModel(at("model"));
  await buildModel({ ...plan, decoder: { ...plan.decoder, precision: "fp32" } });
});

describe("an adapter for audio or video", () => {
  for (const kind of Object.keys(kinds) as Kind[]) {
    it(`is trained on ${kind}, scored and installed in the model, which then answers with it`, async () => {
      const plans: TrainingPlan[] = [];
      // The config of the audio run has no modality: it comes from the first example.
      const adapter = kind === "audio" ? {} : { modality: kind };
      const path = config(`mine-${kind}`, kind, { install: true }, adapter);
      const result = await trainModel(readTrainingConfig(path), { onPlan: (plan) => plans.push(plan) });
      assert.deepEqual([plans[0]?.modality, plans[0]?.examples], [kind, 6]);
      const losses = lossesOf(at(`mine-${kind}`));
      assert.ok(mean(losses.slice(-4)) < mean(losses.slice(0, 4)) - 0.5, losses.join(" "));
      assert.ok("CIDEr" in result.scores && "VQA accuracy" in result.scores);
      const report = readFileSync(result.reportFile, "utf8");
      assert.equal(report.includes("<img"), kind === "video");
      assert.equal(report.includes("audio-3.wav"), kind === "audio");
      const model = await load(at("model"), { threads: 1 });
      try {
        assert.equal(model.manifest.adapters[`mine-${kind}`]?.modality, kind);
        const file = at(`${kind}-0.${kinds[kind].ending}`);
        const answer = await model.caption(file, { adapter: `mine-${kind}` });
        assert.deepEqual([answer.adapter, answer.modality], [`mine-${kind}`, kind]);
        const options = { adapter: `mine-${kind}` };
        const { examples } = await readEvaluationData({ path: at(`${kind}.jsonl`) }, { modalities: [kind] });
        const seeing = await evaluateModel(model, examples, options);
        const blind = await evaluateModel(model, examples, { ...options, textOnly: true });
        const captionsOf = ({ predictions }: typeof seeing) =>
          new Set(predictions.flatMap((one) => (one.kind === "caption" ? [one.prediction] : [])));
        assert.equal(captionsOf(blind).size, 1);
        assert.ok(captionsOf(seeing).size > 1, "what is heard or seen makes a difference");
      } finally {
        await model.close();
      }
    });

    it(`is trained on ${kind} after a stop, and ends with the same weights`, async () => {
      const whole = readTrainingConfig(config(`whole-${kind}`, kind, { epochs: 3 }, { name: "same" }));
      const expected = await trainModel(whole);
      const path = config(`stopped-${kind}`, kind, { epochs: 3 }, { name: "same", modality: kind });
      const stop = new AbortController();
      const hooks = {
        signal: stop.signal,
        onStep: ({ step }: { step: number }) => step === 3 && stop.abort(),
      };
      await assert.rejects(
        trainModel(readTrainingConfig(path), { ...hooks, onStep: (one) => void hooks.onStep(one) }),
        {
          code: "aborted",
        },
      );
      const { adapterFile } = await trainModel(readTrainingConfig(path), {
        onPlan: ({ resumedFrom }) => assert.equal(resumedFrom, 3),
      });
      assert.deepEqual(readFileSync(adapterFile), readFileSync(expected.adapterFile));
    });
  }

  it("takes examples of one modality, and skips others on request", async () => {
    writeLines("mixed", [
      { image: "red.png", caption: "red" },
      { audio: "audio-0.wav", caption: "a tone" },
    ]);
    const validation = { data: { train: { path: "mixed.jsonl" } }, epochs: 1 };
    const refused = readTrainingConfig(config("refused", "mixed", validation, { modality: "audio" }));
    await assert.rejects(trainModel(refused), {
      code: "invalid_data",
      message: /mixed\.jsonl:1: expected 'audio', which the adapter is for, got 'image'$/,
    });
    await assert.rejects(trainModel(readTrainingConfig(config("refused", "mixed", validation))), {
      message: /mixed\.jsonl:2: expected 'image', which the adapter is for, got 'audio'$/,
    });
    const plans: TrainingPlan[] = [];
    const changes = { ...validation, skipBad: true };
    await trainModel(readTrainingConfig(config("skipping", "mixed", changes, { modality: "audio" })), {
      onPlan: (plan) => plans.push(plan),
    });
    assert.deepEqual(
      plans.map(({ examples, skipped }) => [examples, skipped.length]),
      [[1, 1]],
    );
  });

  it("is rejected by the name of the wrong key before anything is computed", async () => {
    const { encoder, otherEncoders: [audio = encoder] = [], ...rest } = severalModel(at("sounds"));
    await buildModel({ ...rest, encoder: audio, adapters: [] });
    const cases = [
      [{ model: "sounds" }, { modality: "image" }, /^adapter\.modality: expected an encoder for image, got audio$/],
      [{ augmentations: 2 }, {}, /^augmentations: expected 0 for audio, or 'augment', got 2$/],
    ] as const;
    for (const [changes, adapter, message] of cases) {
      const path = config("odd", "audio", changes, adapter);
      await assert.rejects(trainModel(readTrainingConfig(path)), { code: "invalid_option", message });
    }
    writeLines("pictures", [{ image: "red.png", caption: "red" }]);
    const path = config("odd", "pictures", { model: "sounds", data: { train: { path: "pictures.jsonl" } } });
    await assert.rejects(trainModel(readTrainingConfig(path)), {
      message: /expected 'audio', which the adapter is for, got 'image'/,
    });
    assert.ok(!existsSync(at("odd")));
  });

  it("is not trained on files of another type or without the required track", async () => {
    writeFileSync(at("damaged.wav"), readFileSync(at("audio-0.wav")).subarray(0, 30));
    writeFileSync(at("text.wav"), "no sound");
    const cases = [
      [
        { audio: "text.wav" },
        /bad\.jsonl:1: 'audio': .*text\.wav: expected an audio file, or a video with an audio track, got other bytes$/,
      ],
      [{ audio: "gone.wav" }, /bad\.jsonl:1: 'audio': .*gone\.wav: no such file$/],
      [{ audio: "red.png" }, /red\.png: expected an audio file, or a video with an audio track, got png$/],
      [{ video: "audio-0.wav" }, /audio-0\.wav: expected a video \(.*\), got wav$/],
      [{ image: "video-0.mp4" }, /video-0\.mp4: expected an image \(.*\), got mp4$/],
      [{ audio: "damaged.wav" }, /damaged\.wav: cannot be decoded: /],
      [{ audio: "video-0.mp4" }, /video-0\.mp4: has no audio track$/],
    ] as const;
    for (const [medium, message] of cases) {
      writeLines("bad", [{ ...medium, caption: "x" }]);
      const path = config("bad", "bad", { data: { train: { path: "bad.jsonl" } } });
      await assert.rejects(trainModel(readTrainingConfig(path)), { message });
    }
  });
});
