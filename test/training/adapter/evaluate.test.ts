import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import {
  type Prediction,
  predict,
  type Reply,
  type ScoredExample,
  score,
} from "../../../src/training/adapter/evaluate.js";
import { captionScores } from "../../../src/training/metrics/caption-scores.js";
import { vqaAccuracy } from "../../../src/training/metrics/vqa-accuracy.js";

function captions(count: number): ScoredExample[] {
  return Array.from({ length: count }, (_, index) => ({
    kind: "caption",
    id: `example ${index}`,
    media: `${index}.png`,
    modality: "image",
    references: [`a picture of ${index}`],
  }));
}

const said = ({ id }: ScoredExample) => ({ prediction: `what was said of ${id}` });

describe("predict", () => {
  it("returns and reports predictions in the order of the data, whichever answer comes first", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.nat(20),
        fc.integer({ min: 1, max: 24 }),
        async (scheduler, count, concurrency) => {
          const examples = captions(count);
          const expected = examples.map((example) => ({ ...example, ...said(example) }));
          const asked: string[] = [];
          const told: Prediction[] = [];
          let [running, most] = [0, 0];
          const ask = async (example: ScoredExample) => {
            asked.push(example.id);
            most = Math.max(most, ++running);
            const text = await scheduler.schedule(Promise.resolve(said(example)));
            running--;
            return text;
          };
          const onPrediction = (prediction: Prediction) => told.push(prediction);
          const found = await scheduler.waitFor(predict(examples, ask, { concurrency, onPrediction }));
          assert.deepEqual(found, expected);
          assert.deepEqual(told, expected);
          assert.deepEqual(
            asked,
            examples.map(({ id }) => id),
          );
          assert.equal(most, Math.min(concurrency, count));
        },
      ),
    );
  });

  it("reports a prediction as soon as all earlier ones are available", async () => {
    const answer: (() => void)[] = [];
    const told: string[] = [];
    const ask = (example: ScoredExample) => new Promise<Reply>((resolve) => answer.push(() => resolve(said(example))));
    const onPrediction = ({ id }: Prediction) => told.push(id);
    const done = predict(captions(3), ask, { concurrency: 3, onPrediction });
    const toldAfter = async (index: number) => {
      answer[index]?.();
      await nextTurn();
      return told.length;
    };
    assert.deepEqual([await toldAfter(1), await toldAfter(0), await toldAfter(2)], [0, 2, 3]);
    await done;
  });

  it("sends no further requests after a failure and waits for the running ones", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.nat(19),
        fc.integer({ min: 1, max: 8 }),
        async (scheduler, bad, concurrency) => {
          const failure = new Error("the picture is gone");
          const told: string[] = [];
          let [asked, running, failed] = [0, 0, false];
          const ask = async (example: ScoredExample) => {
            assert.ok(!failed, "asked after a failure");
            const index = asked++;
            running++;
            await scheduler.schedule(Promise.resolve());
            running--;
            if (index !== bad) return said(example);
            failed = true;
            throw failure;
          };
          const onPrediction = ({ id }: Prediction) => told.push(id);
          const outcome = predict(captions(20), ask, { concurrency, onPrediction }).then(
            () => undefined,
            (error: unknown) => ({ error, running, told: told.length }),
          );
          const rejected = await scheduler.waitFor(outcome);
          assert.deepEqual(rejected, { error: failure, running: 0, told: told.length });
          assert.ok(told.length <= bad);
          assert.deepEqual(
            told,
            captions(told.length).map(({ id }) => id),
          );
        },
      ),
    );
  });

  it("throws the error of the listener and reports nothing more", async () => {
    let told = 0;
    const onPrediction = () => {
      told++;
      throw new Error("the disk is full");
    };
    const ask = async (example: ScoredExample) => said(example);
    await assert.rejects(predict(captions(5), ask, { concurrency: 3, onPrediction }), /the disk is full/);
    assert.equal(told, 1);
  });

  it("stops when it is aborted", async () => {
    const controller = new AbortController();
    let asked = 0;
    const ask = async (example: ScoredExample) => {
      if (++asked === 3) controller.abort();
      return said(example);
    };
    await assert.rejects(predict(captions(9), ask, { concurrency: 1, signal: controller.signal }), {
      name: "EpalmError",
      code: "aborted",
    });
    assert.equal(asked, 3);
  });

  for (const concurrency of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    it(`rejects a concurrency of ${concurrency}`, async () => {
      await assert.rejects(
        predict(captions(2), async () => ({ prediction: "" }), { concurrency }),
        {
          name: "EpalmError",
          code: "invalid_option",
          message: /concurrency: .*got/,
        },
      );
    });
  }
});

describe("score", () => {
  const words = fc
    .array(fc.constantFrom("a", "red", "dog", "runs", "two", "Yes.", "no", "狗"), { maxLength: 6 })
    .map((list) => list.join(" "));
  const common = {
    id: fc.string(),
    media: fc.string(),
    modality: fc.constantFrom("image" as const, "audio" as const),
    references: fc.array(words, { minLength: 1, maxLength: 4 }),
    prediction: words,
  };
  const prediction: fc.Arbitrary<Prediction> = fc.oneof(
    fc.record({ kind: fc.constant("caption" as const), ...common }),
    fc.record({ kind: fc.constant("vqa" as const), question: words, ...common }),
  );

  it("agrees with the metrics of the same pairs, separately for captions and questions", () => {
    fc.assert(
      fc.property(fc.array(prediction, { maxLength: 12 }), (predictions) => {
        const of = (kind: Prediction["kind"]) => predictions.filter((one) => one.kind === kind);
        const [told, answered] = [of("caption"), of("vqa")];
        const { captions: found, answers } = score(predictions);
        if (told.length === 0) assert.equal(found, undefined);
        else {
          const pairs = told.map(({ prediction: candidate, references }) => ({ candidate, references }));
          assert.deepEqual(found, { ...captionScores(pairs).overall, examples: told.length });
        }
        if (answered.length === 0) assert.equal(answers, undefined);
        else {
          const accuracies = answered.map((one) => vqaAccuracy(one.prediction, one.references));
          const mean = accuracies.reduce((sum, value) => sum + value, 0) / accuracies.length;
          assert.deepEqual(answers, { accuracy: mean, examples: answered.length });
        }
      }),
    );
  });

  it("is the mean over the questions", () => {
    const question = { kind: "vqa", id: "", media: "", modality: "image", question: "what colour?" } as const;
    const predictions: Prediction[] = [
      { ...question, references: ["red"], prediction: "Red." },
      { ...question, references: ["red", "pink"], prediction: "pink" },
      { ...question, references: ["red"], prediction: "blue" },
    ];
    assert.deepEqual(score(predictions), { captions: undefined, answers: { accuracy: 0.5, examples: 3 } });
  });
});
