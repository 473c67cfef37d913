import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  HELD_OUT,
  plural,
  readConcepts,
  readDrawableConcepts,
  trainingStyles,
  withArticle,
} from "../../../../models/recipe/data/text/concepts.js";

describe("concepts", () => {
  const concepts = readConcepts();

  it("have unique names of plain characters", () => {
    assert.ok(concepts.length > 1000, String(concepts.length));
    assert.equal(new Set(concepts.map(({ name }) => name)).size, concepts.length);
    for (const { name } of concepts) assert.match(name, /^[a-z0-9() #/-]+$/);
  });

  it("have icons in at least two training styles, which do not include the held-out style", () => {
    assert.ok(!(trainingStyles as readonly string[]).includes(HELD_OUT));
    for (const { name, icons } of concepts) {
      assert.ok(trainingStyles.filter((style) => icons.has(style)).length >= 2, name);
    }
  });

  it("are used in images only if every style draws them", () => {
    const drawable = readDrawableConcepts();
    assert.ok(drawable.length >= 200, String(drawable.length));
    const names = new Set(concepts.map(({ name }) => name));
    for (const { name, icons } of drawable) {
      assert.ok(names.has(name));
      assert.equal(icons.size, trainingStyles.length + 1, name);
    }
  });

  for (const [name, article, many] of [
    ["red apple", "a red apple", "red apples"],
    ["axe", "an axe", "axes"],
    ["unicorn", "a unicorn", "unicorns"],
    ["umbrella", "an umbrella", "umbrellas"],
    ["chopsticks", "chopsticks", "chopsticks"],
    ["face with tears of joy", "a face with tears of joy", "faces with tears of joy"],
    ["leaf", "a leaf", "leaves"],
    ["tropical fish", "a tropical fish", "tropical fish"],
    ["strawberry", "a strawberry", "strawberries"],
    ["bus", "a bus", "buses"],
    ["snowman", "a snowman", "snowmen"],
  ] as const) {
    it(`have the forms '${article}' and '${many}'`, () => {
      assert.deepEqual([withArticle(name), plural(name)], [article, many]);
    });
  }
});
