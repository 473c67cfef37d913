import { type Random, randomStreams, shuffled } from "../../../../src/core/random.js";
import { normalNumber } from "../../../../src/training/index.js";
import { randomAudioScene } from "../audio/audio-scene.js";
import { audioAttributes, audioLabels, audioQuestionsOf, captionsOf } from "../audio/describe-audio.js";
import { randomClipScene } from "../clips/clip-scene.js";
import { captionOfClip, clipAttributes, clipLabels, clipQuestionsOf } from "../clips/describe-clip.js";
import { captionOf, pick, questionsOf, randomScene } from "../images/scene.js";
import { labelsOf, sceneAttributes } from "../images/scene-sets.js";
import { type Concept, plural, readDrawableConcepts, withArticle } from "./concepts.js";
import { type PartOfSpeech, readSynsets, readTagCounts, type Synset } from "./wordnet.js";

/** The training data of the language model, which is text only: the model never receives an image or audio. */

export interface Document {
  /** Labels that are known before the texts; empty for most documents. */
  readonly conditioningLabels: readonly ConditioningLabel[];
  /** No text attends to another. */
  readonly texts: readonly Text[];
}

/**
 * A label of one attribute of a medium, as encoders learn it. All conditioning labels of a document share one slot
 * before its texts, at the position of the perceptual token, so that the model learns to read them from a single
 * vector.
 */
export interface ConditioningLabel {
  readonly attribute: string;
  readonly label: string;
  /** Factor of the label in the slot. Distractors can have negative weights. */
  readonly weight: number;
}

/** All attributes that conditioning labels can have. */
export const attributes: readonly string[] = Array.from(
  new Set([...sceneAttributes, ...audioAttributes, ...clipAttributes]),
);

/** A sentence; or a question, which is not learned, and its answer, which is. */
export type Text = { readonly sentence: string } | { readonly question: string; readonly answer: string };

const parts: readonly (readonly [PartOfSpeech, string])[] = [
  ["noun", "1"],
  ["verb", "2"],
  ["adj", "3"],
  ["adv", "4"],
];

/** Shorter example sentences are mostly phrases that are incomprehensible without their headword. */
const MIN_EXAMPLE_WORDS = 4;

/**
 * Share of the English documents that each epoch reads; the last value applies to all later epochs. The model remembers
 * best what it reads last, and that should be the invented documents.
 */
const englishShares = [1, 0.3, 0.15];

/** Shares of the invented documents: facts; and among the others, audio and clips. */
const FACTS_SHARE = 0.25;
const AUDIO_SHARE = 0.12;
const CLIPS_SHARE = 0.15;

/** Share of the documents about media that have no conditioning labels, so that their answers are guesses. */
const UNGIVEN_SHARE = 0.2;
/**
 * Number of other scenes whose labels compete with the true ones. Conditioning labels are uncertain, as an encoder is:
 * for each attribute, the true label and those of the other scenes share a total weight of 1, and each of them is the
 * true one with a probability equal to its weight. So the model learns to state what is most probable, to choose
 * between two alternatives by their weights, and to deny what has little weight.
 */
const OTHERS = 4;
/**
 * Maximum confidence. The weights are the softmax of normally distributed numbers multiplied by the confidence: from
 * equal weights to nearly all weight on one label.
 */
const MAX_CONFIDENCE = 5;
/**
 * Minimum noise scale; the maximum is 1. Encoders recognise backgrounds well, names less well and places hardly, so the
 * weights of each attribute are multiplied by a noise scale of their own.
 */
const MIN_NOISE_SCALE = 0.1;
/**
 * Number of further scenes whose labels are added as distractors, with normally distributed weights of mean 0. They
 * imitate a linear map of encoder states, which gives a little weight to every name and slightly more to the right one.
 */
const DISTRACTOR_SCENES = 48;
/** Maximum std of the weights of distractors. */
const MAX_DISTRACTOR_STD = 0.06;
/** Numbers of questions about a medium: of any type, and of the types in `comparing`. */
const QUESTIONS = 3;
const COMPARING_QUESTIONS = 5;
/**
 * Question types that compare what is asked with what is there. A model learns them last, so they are asked again about
 * other things.
 */
const comparing: ReadonlySet<string> = new Set([
  "exists",
  "kind exists",
  "place",
  "relation",
  "which of two",
  "which first",
]);
/** Share of the scenes that contain only the concepts of images instead of all concepts. */
const DRAWABLE_SHARE = 0.7;

/**
 * English text from WordNet: its example sentences, except for short ones, and the definitions of all meanings that its
 * tagged texts use or that have the name of a concept.
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

/** Questions about a concept that can be answered without an image, with their answers. */
export function factQuestions(concept: Concept, others: readonly Concept[], random: Random): [string, string][] {
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

/** A medium, described in text. */
interface DescribedMedium {
  /** Labels by attribute, as encoders learn them. */
  readonly labels: Readonly<Record<string, string>>;
  /** Several wordings. */
  readonly captions: readonly string[];
  /** Draws different questions in each call. */
  questions(): readonly Question[];
}

interface Question {
  readonly type: string;
  readonly question: string;
  readonly answer: string;
}

function randomMedium(seen: readonly Concept[], random: Random): () => DescribedMedium {
  const share = random();
  if (share < AUDIO_SHARE) {
    return () => {
      const scene = randomAudioScene(random, "training");
      return {
        labels: audioLabels(scene),
        captions: captionsOf(scene),
        questions: () => audioQuestionsOf(scene, random),
      };
    };
  }
  if (share < AUDIO_SHARE + CLIPS_SHARE) {
    return () => {
      const clip = randomClipScene(random, seen, "training");
      return {
        labels: clipLabels(clip),
        captions: [captionOfClip(clip)],
        questions: () => clipQuestionsOf(clip, seen, random),
      };
    };
  }
  return () => {
    const scene = randomScene(random, seen);
    return {
      labels: labelsOf(scene),
      captions: [captionOf(scene)],
      questions: () => questionsOf(scene, seen, random),
    };
  };
}

/** @param nextMedium describes another medium of the same modality in each call */
function mediumDocument(nextMedium: () => DescribedMedium, random: Random): Document {
  const { labels, captions, questions } = nextMedium();
  const some = (length: number) => Array.from({ length }, () => nextMedium().labels);
  return {
    conditioningLabels:
      random() < UNGIVEN_SHARE
        ? []
        : [...uncertainLabels(labels, some(OTHERS), random), ...distractorLabels(some(DISTRACTOR_SCENES), random)],
    texts: [{ sentence: captions[0] ?? "" }, ...someQuestions(questions, random)],
  };
}

function someQuestions(questions: DescribedMedium["questions"], random: Random): Question[] {
  const again = Array.from({ length: COMPARING_QUESTIONS }, questions).flat();
  const compared = again.filter(({ type }) => comparing.has(type));
  return [
    ...shuffled(questions(), random).slice(0, QUESTIONS),
    ...shuffled(compared, random).slice(0, COMPARING_QUESTIONS),
  ];
}

type Labels = Readonly<Record<string, string>>;

/** If only some of the scenes have an attribute, its absence is one of the possibilities. */
function uncertainLabels(labels: Labels, others: readonly Labels[], random: Random): ConditioningLabel[] {
  const found = new Set([labels, ...others].flatMap((one) => Object.keys(one)));
  return Array.from(found).flatMap((attribute) => {
    const shares = randomShares(1 + others.length, random);
    const noiseScale = MIN_NOISE_SCALE + (1 - MIN_NOISE_SCALE) * random();
    const truth = drawFrom(shares, random);
    const wrong = others.slice();
    return shares.flatMap((share, index) => {
      const label = (index === truth ? labels : wrong.pop())?.[attribute];
      if (label === undefined) return [];
      return [{ attribute, label, weight: noiseScale * share }];
    });
  });
}

function distractorLabels(distractors: readonly Labels[], random: Random): ConditioningLabel[] {
  const std = MAX_DISTRACTOR_STD * random();
  return distractors.flatMap((labels) =>
    Object.entries(labels).map(([attribute, label]) => ({
      attribute,
      label,
      weight: std * normalNumber(random),
    })),
  );
}

function randomShares(count: number, random: Random): number[] {
  const confidence = MAX_CONFIDENCE * random();
  const odds = Array.from({ length: count }, () => Math.exp(confidence * normalNumber(random)));
  const sum = odds.reduce((total, one) => total + one, 0);
  return odds.map((one) => one / sum);
}

/** A random index; the share of each index is its probability. */
function drawFrom(shares: readonly number[], random: Random): number {
  let rest = random();
  const index = shares.findIndex((share) => {
    rest -= share;
    return rest < 0;
  });
  return index < 0 ? shares.length - 1 : index;
}

/** A random document: a medium and questions about it, a fact, or questions about facts. */
function inventedDocument(all: readonly Concept[], drawable: readonly Concept[], random: Random): Document {
  if (random() >= FACTS_SHARE) {
    const seen = random() < DRAWABLE_SHARE ? drawable : all;
    return mediumDocument(randomMedium(seen, random), random);
  }
  const concept = pick(random, random() < 0.5 ? drawable : all);
  if (random() < 0.5) return { conditioningLabels: [], texts: [{ sentence: factStatement(concept, random) }] };
  const questions = factQuestions(concept, all, random);
  return { conditioningLabels: [], texts: questions.map(([question, answer]) => ({ question, answer })) };
}

/**
 * The documents of an epoch in random order: a share of the English ones, and as many invented ones as there are
 * English ones in total.
 */
export function epochDocuments(
  english: readonly string[],
  concepts: readonly Concept[],
  seed: number,
  epoch: number,
): Document[] {
  const [random = Math.random, choice = Math.random] = randomStreams(seed + epoch, 2);
  const drawable = readDrawableConcepts();
  const share = englishShares[Math.min(epoch, englishShares.length - 1)] ?? 0;
  const read = english.filter(() => choice() < share);
  const documents: Document[] = [
    ...read.map((sentence) => ({ conditioningLabels: [], texts: [{ sentence }] })),
    ...english.map(() => inventedDocument(concepts, drawable, random)),
  ];
  return shuffled(documents, random);
}
