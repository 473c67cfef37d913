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

/** What an epoch reads. */
interface Mix {
  /** Share of English that is read. */
  readonly english: number;
  /** Shares of what is made up: scenes with a question, plain captions; the rest is facts. */
  readonly scenes: number;
  readonly captions: number;
}

/** English first; then mostly what questions about pictures need: what is read last is known best. */
const KNOWLEDGE_FROM_EPOCH = 2;
const languageMix: Mix = { english: 1, scenes: 0.5, captions: 0.2 };
const knowledgeMix: Mix = { english: 0.2, scenes: 0.4, captions: 0.1 };

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
function inventedDocument(concepts: readonly Concept[], mix: Mix, random: Random): string {
  const drawn = random();
  if (drawn < mix.scenes) {
    const scene = randomScene(random, concepts);
    const { question, answer } = pick(random, questionsOf(scene, concepts, random));
    return `${captionOf(scene)}. ${question}?${ANSWER_TOKEN}${answer}`;
  }
  if (drawn < mix.scenes + mix.captions) return captionOf(randomScene(random, concepts));
  const concept = pick(random, concepts);
  if (random() < 0.5) return factStatement(concept, random);
  const [question, answer] = pick(random, factQuestions(concept, concepts, random));
  return `${question}?${ANSWER_TOKEN}${answer}`;
}

/** The documents of an epoch, in its own order: English, and as many invented ones as there is English in all. */
export function epochDocuments(
  english: readonly string[],
  concepts: readonly Concept[],
  seed: number,
  epoch: number,
): string[] {
  const [random = Math.random, choice = Math.random] = randomStreams(seed + epoch, 2);
  const mix = epoch < KNOWLEDGE_FROM_EPOCH ? languageMix : knowledgeMix;
  const invented = english.map(() => inventedDocument(concepts, mix, random));
  const read = english.filter(() => choice() < mix.english);
  const documents = [...read, ...invented];
  return shuffled(documents, random);
}
