import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type ClipCombinations,
  type ClipScene,
  randomClipScene,
} from "../../../../models/recipe/data/clips/clip-scene.js";
import {
  type ClipQuestionType,
  captionOfClip,
  clipAttributes,
  clipLabels,
  clipQuestionsOf,
  clipQuestionTypes,
} from "../../../../models/recipe/data/clips/describe-clip.js";
import { readDrawableConcepts } from "../../../../models/recipe/data/text/concepts.js";
import { randomStreams } from "../../../../src/core/random.js";

const concepts = readDrawableConcepts();

function scenesOf(combinations: ClipCombinations, count = 3000): ClipScene[] {
  return Array.from({ length: count }, (_, seed) => {
    const [random = Math.random] = randomStreams(seed, 1);
    return randomClipScene(random, concepts, combinations);
  });
}

const [training, heldOut] = [scenesOf("training"), scenesOf("held-out")];

describe("held-out combinations", () => {
  const combinationOf = ({ background, event }: ClipScene) =>
    [background, event.action, ...(event.action === "moves" ? [event.direction, event.pace] : [])].join(" ");

  it("combine backgrounds with events and never occur in a training clip", () => {
    const known = new Set(training.map(combinationOf));
    const held = new Set(heldOut.map(combinationOf));
    assert.ok(held.size > 20, `${held.size}`);
    for (const combination of held) assert.ok(!known.has(combination), combination);
  });

  it("consist of labels that occur in training, except for names", () => {
    const labels = (scenes: readonly ClipScene[]) =>
      new Set(scenes.flatMap((scene) => Object.entries(clipLabels(scene)).map((label) => label.join(": "))));
    const known = labels(training);
    const unknown = Array.from(labels(heldOut)).filter((label) => !known.has(label));
    // Among so many concepts, a few are left out by chance.
    assert.ok(
      unknown.every((label) => /^(name|first thing|second thing): /.test(label)),
      unknown.join(),
    );
  });
});

describe("questions and captions of a clip", () => {
  const questions = training.flatMap((scene, seed) => {
    const [random = Math.random] = randomStreams(10_000 + seed, 1);
    return clipQuestionsOf(scene, concepts, random);
  });
  const share = (type: ClipQuestionType, isSo: (one: (typeof questions)[number]) => boolean) => {
    const ofType = questions.filter((one) => one.type === type);
    return ofType.filter(isSo).length / ofType.length;
  };

  it("contain every question type, and the labels contain every attribute", () => {
    assert.deepEqual(new Set(questions.map(({ type }) => type)), new Set(clipQuestionTypes));
    const labelled = new Set(training.flatMap((scene) => Object.keys(clipLabels(scene))));
    assert.deepEqual(labelled, new Set(clipAttributes));
  });

  const balances: readonly (readonly [ClipQuestionType, string | RegExp])[] = [
    ["exists", "yes"],
    ["moves", "yes"],
    ["pace", "slowly"],
    ["size", "it grows"],
  ];
  for (const [type, answer] of balances) {
    it(`have the answer '${answer}' in about half of the questions of type '${type}'`, () => {
      const found = share(type, (one) => one.answer === answer);
      assert.ok(found > 0.42 && found < 0.58, `${found}`);
    });
  }

  it("name the first object first in half of the questions about order", () => {
    const found = share("which first", ({ question, answer }) =>
      question.startsWith(`which is there first, ${answer} or `),
    );
    assert.ok(found > 0.42 && found < 0.58, `${found}`);
  });

  it("contain the labels in the caption", () => {
    for (const scene of training.slice(0, 300)) {
      const caption = captionOfClip(scene);
      const { action, direction, pace, ...labels } = clipLabels(scene);
      const words = [labels.name, labels["first thing"], labels["second thing"], labels.background, direction];
      for (const word of words) assert.ok(caption.includes(word ?? ""), `${caption}: ${word}`);
      if (pace) assert.ok(caption.includes(pace === "slow" ? " slowly " : " quickly "), caption);
      assert.equal(caption.includes(" and then "), action === "appears", caption);
    }
  });
});
