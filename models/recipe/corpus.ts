import { type Random, randomStreams, shuffled } from "../../src/generation/random.js";
import { ANSWER_TOKEN } from "../../src/model/tasks.js";
import { type Concept, plural, withArticle } from "./concepts.js";
import { captionOf, pick, questionsOf, randomScene } from "./scene.js";
import { type PartOfSpeech, readSynsets, readTagCounts, type Synset } from "./wordnet.js";

/** What the language model reads: texts only, no picture ever. A document is one text. */

const parts: readonly (readonly [PartOfSpeech, string])[] = [
  ["noun", "1"],
  ["verb", "2"],
  ["adj", "3"],
  ["adv", "4"],
];

/** Examples shorter than this many words are mostly phrases that need their word beside them. */
const MIN_EXAMPLE_WORDS = 4;

/** Of each 10 documents made up: scenes with a question, plain captions, facts. */
const SCENE_SHARE = 0.5;
const CAPTION_SHARE = 0.2;

/**
 * Plain English as far as WordNet holds it: definitions of all meanings that its tagged texts use or that have the
 * name of a concept, and all of its example sentences.
 */
export function englishDocuments(concepts: readonly Concept[]): string[] {
  const counts = readTagCounts();
  const names = new Set(concepts.map(({ name }) => name));
  return parts.flatMap(([part, number]) =>
    Array.from(readSynsets(part).values()).flatMap((synset) => {
      const examples = synset.examples.filter((text) => text.split(" ").length >= MIN_EXAMPLE_WORDS);
      const isUsed = counts.has(`${number} ${synset.id}`) || synset.words.some((word) => names.has(word));
      return isUsed ? [...examples, definitionOf(part, synset)] : examples;
    }),
  );
}

function definitionOf(part: PartOfSpeech, { words: [word = ""], definition }: Synset): string {
  const text = definition.replace(/\s*\([^)]*\)\s*/g, " ").trim();
  switch (part) {
    case "noun":
      return `${withArticle(word)} is ${text}`;
    case "verb":
      return `to ${word} is to ${text}`;
    case "adj":
    case "adv":
      return `${word} means ${text}`;
    default:
      return part satisfies never;
  }
}

/** Questions about a concept that can be answered without a picture, and their answers. */
export function factQuestions(
  concept: Concept,
  others: readonly Concept[],
  random: Random,
): [string, string][] {
  const { kind } = concept;
  const name = withArticle(concept.name);
  const verb = name === concept.name ? "are" : "is";
  const other = pick(random, others);
  const asked = random() < 0.5 ? kind : other.kind;
  const yesOrNo = (is: boolean) => (is ? "yes" : "no");
  return [
    [`what kind of thing ${verb} ${name}`, kind.name],
    [`${verb} ${name} ${withArticle(asked.name)}`, yesOrNo(asked.name === kind.name)],
    [`can you eat ${name}`, yesOrNo(kind.edible)],
    [`${verb} ${name} alive`, yesOrNo(kind.alive)],
  ];
}

function factStatement({ name, kind, tags }: Concept, random: Random): string {
  const statements = [
    `${withArticle(name)} is ${withArticle(kind.name)}`,
    `${plural(name)} are ${kind.edible ? "" : "not "}good to eat`,
    `${withArticle(name)} is ${kind.alive ? "alive" : "not alive"}`,
    `${withArticle(kind.name)} is a kind of ${kind.broader}`,
    ...(tags.length > 0 ? [`${name} has to do with ${tags.slice(0, 4).join(", ")}`] : []),
  ];
  return pick(random, statements);
}

/** One text of endless many: a scene and a question about it, a caption, a fact, a question about a fact. */
export function inventedDocument(concepts: readonly Concept[], random: Random): string {
  const drawn = random();
  if (drawn < SCENE_SHARE) {
    const scene = randomScene(random, concepts);
    const { question, answer } = pick(random, questionsOf(scene, concepts, random));
    return `${captionOf(scene)}. ${question}?${ANSWER_TOKEN}${answer}`;
  }
  if (drawn < SCENE_SHARE + CAPTION_SHARE) return captionOf(randomScene(random, concepts));
  const concept = pick(random, concepts);
  if (random() < 0.5) return factStatement(concept, random);
  const [question, answer] = pick(random, factQuestions(concept, concepts, random));
  return `${question}?${ANSWER_TOKEN}${answer}`;
}

/** The documents of an epoch, in its own order: all of English, and as many invented ones. */
export function epochDocuments(
  english: readonly string[],
  concepts: readonly Concept[],
  seed: number,
  epoch: number,
): string[] {
  const [random = Math.random] = randomStreams(seed + epoch, 1);
  const documents = [...english, ...english.map(() => inventedDocument(concepts, random))];
  return shuffled(documents, random);
}
