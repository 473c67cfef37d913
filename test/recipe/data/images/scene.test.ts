import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  captionOf,
  type Placed,
  questionsOf,
  randomScene,
  type Scene,
} from "../../../../models/recipe/data/images/scene.js";
import { readConcepts } from "../../../../models/recipe/data/text/concepts.js";
import { randomStreams } from "../../../../src/core/random.js";

const concepts = readConcepts();
const SCENES = 2000;

function scenes(): { scene: Scene; random: () => number }[] {
  return Array.from({ length: SCENES }, (_, seed) => {
    const [random = Math.random] = randomStreams(seed, 1);
    return { scene: randomScene(random, concepts), random };
  });
}

function concept(name: string) {
  const found = concepts.find((one) => one.name === name);
  assert.ok(found, name);
  return found;
}

function sceneOf(...objects: readonly (readonly [name: string, place: Placed["place"]])[]): Scene {
  return {
    background: { color: "blue", texture: "plain" },
    objects: objects.map(([name, place]) => ({ concept: concept(name), place })),
  };
}

describe("the caption of a scene", () => {
  for (const [scene, caption] of [
    [sceneOf(["red apple", "middle"]), "a red apple on a blue background"],
    [sceneOf(["pizza", "left"], ["rocket", "right"]), "a pizza left of a rocket on a blue background"],
    [sceneOf(["pizza", "top"], ["rocket", "bottom"]), "a pizza above a rocket on a blue background"],
    [sceneOf(["pizza", "left"], ["pizza", "right"]), "two pizzas on a blue background"],
    [
      sceneOf(["pizza", "top"], ["rocket", "bottom left"], ["axe", "bottom right"]),
      "a pizza, a rocket and an axe on a blue background",
    ],
    [
      { ...sceneOf(["pizza", "middle"]), background: { color: "orange", texture: "striped" } },
      "a pizza on a striped orange background",
    ],
  ] as const) {
    it(`is '${caption}'`, () => assert.equal(captionOf(scene), caption));
  }
});

describe("questions about a scene", () => {
  it("have correct answers", () => {
    for (const { scene, random } of scenes()) {
      const names = scene.objects.map((object) => object.concept.name);
      for (const { type, question, answer } of questionsOf(scene, concepts, random)) {
        const where = `${captionOf(scene)}: ${question}: ${answer}`;
        const only = scene.objects[0]?.concept;
        switch (type) {
          case "background":
            assert.equal(answer, scene.background.color, where);
            break;
          case "count":
            if (question.includes("things")) {
              assert.equal(answer, ["", "one", "two", "three", "four"][names.length], where);
            } else assert.match(answer, /^(one|two|three|four)$/, where);
            break;
          case "name":
            assert.ok(answer.endsWith(only?.name ?? "-"), where);
            break;
          case "kind":
            assert.equal(answer, only?.kind.name, where);
            break;
          case "which of two":
            assert.ok(question.includes(answer) && answer.endsWith(only?.name ?? "-"), where);
            break;
          case "edible":
            assert.equal(answer, only?.kind.edible ? "yes" : "no", where);
            break;
          case "alive":
            assert.equal(answer, only?.kind.alive ? "yes" : "no", where);
            break;
          case "exists": {
            const asked = question.replace(/^is there (an? )?/, "");
            assert.equal(answer, names.includes(asked) ? "yes" : "no", where);
            break;
          }
          case "kind exists": {
            const asked = question.replace(/^is there (an? )?/, "");
            const kinds = scene.objects.map((object) => object.concept.kind.name);
            assert.equal(answer, kinds.includes(asked) ? "yes" : "no", where);
            break;
          }
          case "place": {
            const asked = question.replace("where is the ", "");
            const object = scene.objects.find((one) => one.concept.name === asked);
            assert.equal(answer, object?.place, where);
            break;
          }
          case "relation": {
            const [, relation = "", asked = ""] =
              /^what is (left of|right of|above|below) the (.*)$/.exec(question) ?? [];
            const [first, second] = names;
            const isFirst = relation === "left of" || relation === "above";
            assert.equal(asked, isFirst ? second : first, where);
            assert.ok(answer.endsWith((isFirst ? first : second) ?? "-"), where);
            break;
          }
          default: {
            assert.fail(`no test for questions of type ${type}`);
          }
        }
      }
    }
  });

  it("have balanced yes and no answers for concepts and for kinds", () => {
    for (const wanted of ["exists", "kind exists"]) {
      const answers = scenes().flatMap(({ scene, random }) =>
        questionsOf(scene, concepts, random).flatMap(({ type, answer }) => (type === wanted ? [answer] : [])),
      );
      const yes = answers.filter((answer) => answer === "yes").length / answers.length;
      assert.ok(yes > 0.46 && yes < 0.54, `${wanted}: ${yes}`);
    }
  });
});
