import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readConcepts } from "../../../../../models/recipe/data/text/concepts.js";
import {
  attributes,
  type Document,
  englishDocuments,
  epochDocuments,
  factQuestions,
} from "../../../../../models/recipe/data/text/corpus.js";
import { randomStreams } from "../../../../../src/core/random.js";

const concepts = readConcepts();

describe("the training data of the language model", () => {
  const english = englishDocuments(concepts).slice(0, 3000);

  it("is the same for the same seed and epoch and differs for others", () => {
    const documents = epochDocuments(english, concepts, 1, 0);
    assert.deepEqual(epochDocuments(english, concepts, 1, 0), documents);
    assert.notDeepEqual(epochDocuments(english, concepts, 1, 1), documents);
    assert.notDeepEqual(epochDocuments(english, concepts, 2, 0), documents);
  });

  it("contains all English documents at first and 15 % of them later; all others are invented", () => {
    const known = new Set(english);
    const isEnglish = ({ texts: [text] }: Document) => text && "sentence" in text && known.has(text.sentence);
    const share = (epoch: number) =>
      epochDocuments(english, concepts, 1, epoch).filter(isEnglish).length / english.length;
    assert.equal(share(0), 1);
    assert.ok(Math.abs(share(2) - 0.15) < 0.03, String(share(2)));
    assert.equal(epochDocuments(english, concepts, 1, 0).length, 2 * english.length);
  });

  it("uses the label with the largest weight as often as the weight says", () => {
    const documents = epochDocuments(english, concepts, 1, 0).filter(
      ({ conditioningLabels }) => conditioningLabels.length > 0,
    );
    assert.ok(documents.length > 1000);
    let [names, right, surely, clearly] = [0, 0, 0, 0];
    for (const { conditioningLabels, texts } of documents) {
      for (const { attribute, weight } of conditioningLabels)
        assert.ok(attributes.includes(attribute) && weight <= 1, attribute);
      for (const text of texts) {
        if ("sentence" in text || text.question !== "what is this") continue;
        names++;
        const named = conditioningLabels.filter(({ attribute }) => attribute === "name");
        const surest = named.reduce((a, b) => (a.weight > b.weight ? a : b));
        if (surest.label === text.answer.replace(/^an? /, "")) right++;
        surely += surest.weight;
        clearly += named.reduce((sum, { weight }) => sum + weight, 0);
      }
    }
    assert.ok(names > 100, String(names));
    // The noise scale of the names differs between documents. The distractors, whose weights have a mean of 0, add next
    // to nothing.
    const [frequency, share] = [right / names, surely / clearly];
    assert.ok(Math.abs(frequency - share) < 0.1, `${frequency}, ${share}`);
    assert.ok(frequency > 0.5 && frequency < 0.95, String(frequency));
  });

  it("contains definitions without parentheses and without examples", () => {
    const definitions = english.filter((text) => /^an? [a-z ]+ is /.test(text));
    assert.ok(definitions.length > 500);
    for (const text of definitions) assert.doesNotMatch(text, /["()]/, text);
  });
});

describe("questions about facts", () => {
  it("have the answers that the concept's kind determines", () => {
    const [random = Math.random] = randomStreams(0, 1);
    const apple = concepts.find(({ name }) => name === "red apple");
    assert.ok(apple);
    const answers = new Map(factQuestions(apple, concepts, random));
    assert.equal(answers.get("what kind of thing is a red apple"), "fruit");
    assert.equal(answers.get("can you eat a red apple"), "yes");
    assert.equal(answers.get("is a red apple alive"), "no");
  });
});
