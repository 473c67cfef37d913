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

/** What the language model reads: texts only; it never sees a picture, and hears nothing. */

export interface Document {
  /** What is known before the texts begin; none for most texts. */
  readonly conditioningLabels: readonly ConditioningLabel[];
  /** None sees another. */
  readonly texts: readonly Text[];
}

/**
 * A label as encoders learn them, of one attribute of what is perceived. All conditioning labels of a document share one slot before its
 * texts, where the perceptual token will stand: so the model learns to say what stands there, in one vector.
 */
export interface ConditioningLabel {
  readonly attribute: string;
  readonly label: string;
  /** How sure it is. */
  readonly weight: number;
}

/** All attributes that conditioning labels may have. */
export const attributes: readonly string[] = Array.from(
  new Set([...sceneAttributes, ...audioAttributes, ...clipAttributes]),
);

/** A sentence; or a question, which is not learnt, and its answer, which is. */
export type Text = { readonly sentence: string } | { readonly question: string; readonly answer: string };

const parts: readonly (readonly [PartOfSpeech, string])[] = [
  ["noun", "1"],
  ["verb", "2"],
  ["adj", "3"],
  ["adv", "4"],
];

/** Examples shorter than this many words are mostly phrases that need their word beside them. */
const MIN_EXAMPLE_WORDS = 4;

/** Share of English that an epoch reads, the last for all that follow: what is read last is known best. */
const englishShares = [1, 0.3, 0.15];

/** Shares of what is made up: facts; of all else, what can be heard and what happens in clips. */
const FACTS_SHARE = 0.25;
const AUDIO_SHARE = 0.12;
const CLIPS_SHARE = 0.15;

/** Of things seen or heard: how often the texts alone are read, with nothing given: answers are then guesses. */
const UNGIVEN_SHARE = 0.2;
/**
 * Hints are unsure, as an encoder is: for each attribute, what holds and what holds of so many others share a weight of
 * one, and each is true as often as its share says. So the model learns to say what is most probable, to choose between
 * two by what speaks for each, and to deny what little speaks for.
 */
const OTHERS = 4;
/** Shares are the softmax of normal numbers times at most this: from evenly unsure to as good as sure. */
const MAX_CONFIDENCE = 5;
/**
 * Encoders tell grounds well, names less, places hardly: the shares of each attribute come in with a clearness of their
 * own, at least this, at most one.
 */
const MIN_NOISE_SCALE = 0.1;
/**
 * Nothing reads shares exactly from a picture: what holds of so many more is added with normal weights around zero. So
 * a linear map of states speaks: a little of each name that there is, and somewhat more of the right one.
 */
const DISTRACTOR_SCENES = 48;
/** Deviation of their weights, at most. */
const MAX_DISTRACTOR_STD = 0.06;
/** Questions about one thing that is perceived: of all kinds, and of those that compare what is asked with what is there. */
const QUESTIONS = 3;
const COMPARING_QUESTIONS = 5;
/** These are the last that a model learns: they are asked again, about other things. */
const comparing: ReadonlySet<string> = new Set([
  "exists",
  "kind exists",
  "place",
  "relation",
  "which of two",
  "which first",
]);
/** How often the scene is of what pictures show, not of all concepts. */
const DRAWABLE_SHARE = 0.7;

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

/** What is there to be perceived, as texts say it. */
interface DescribedMedium {
  /** By attribute, as encoders learn them. */
  readonly labels: Readonly<Record<string, string>>;
  /** In other words each. */
  readonly captions: readonly string[];
  /** Others each time. */
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

/** @param perceive something of one modality, another each time */
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

/** Of an attribute that some have and some have not, having none is a possibility like others. */
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

/** A place, as often as its share says. */
function drawFrom(shares: readonly number[], random: Random): number {
  let rest = random();
  const index = shares.findIndex((share) => {
    rest -= share;
    return rest < 0;
  });
  return index < 0 ? shares.length - 1 : index;
}

/** One document of endless many: something perceived and questions about it, a fact, a question about a fact. */
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

/** The documents of an epoch, in its own order: English, and as many invented ones as there is English in all. */
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
