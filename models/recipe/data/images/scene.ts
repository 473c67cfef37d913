import { at } from "../../../../src/core/at.js";
import type { Random } from "../../../../src/core/random.js";
import { type Concept, plural, withArticle } from "../text/concepts.js";

/**
 * A scene before it is drawn: its background and the places of its objects. Captions, questions and answers are derived
 * from it.
 */
export interface Scene {
  readonly background: Background;
  readonly objects: readonly Placed[];
}

export interface Background {
  readonly color: ColorName;
  readonly texture: Texture;
}

export interface Placed {
  readonly concept: Concept;
  readonly place: Place;
}

export const colorNames = [
  "red",
  "orange",
  "yellow",
  "green",
  "blue",
  "purple",
  "pink",
  "brown",
  "black",
  "gray",
  "white",
] as const;
export type ColorName = (typeof colorNames)[number];

export const textures = ["plain", "striped", "dotted", "checkered"] as const;
export type Texture = (typeof textures)[number];

export const places = [
  "middle",
  "left",
  "right",
  "top",
  "bottom",
  "top left",
  "top right",
  "bottom left",
  "bottom right",
] as const;
export type Place = (typeof places)[number];

/** Combinations of places, by number of objects. */
const layouts: readonly (readonly (readonly Place[])[])[] = [
  [["middle"]],
  [
    ["left", "right"],
    ["top", "bottom"],
  ],
  [
    ["top", "bottom left", "bottom right"],
    ["top left", "top right", "bottom"],
  ],
  [["top left", "top right", "bottom left", "bottom right"]],
];

const numberWords = ["no", "one", "two", "three", "four"] as const;

/** Shares of the scenes with one, two, three and four objects. */
const COUNT_SHARES = [0.5, 0.3, 0.12, 0.08];
/** Share of the scenes with several objects in which all are the same. */
const SAME_SHARE = 0.4;
/** Share of the backgrounds that have a texture. */
const TEXTURE_SHARE = 0.3;

export function pick<T>(random: Random, list: readonly T[]): T {
  return at(list, Math.floor(random() * list.length));
}

export function randomScene(random: Random, concepts: readonly Concept[], count = randomCount(random)): Scene {
  const layout = pick(random, layouts[count - 1] ?? []);
  const same = count > 1 && random() < SAME_SHARE ? pick(random, concepts) : undefined;
  const chosen = new Set<Concept>();
  while (!same && chosen.size < count) chosen.add(pick(random, concepts));
  const order = Array.from(chosen);
  return {
    background: {
      color: pick(random, colorNames),
      texture: random() < TEXTURE_SHARE ? pick(random, textures.slice(1)) : "plain",
    },
    objects: layout.map((place, i) => ({ place, concept: same ?? at(order, i) })),
  };
}

function randomCount(random: Random): number {
  let rest = random();
  const index = COUNT_SHARES.findIndex((share) => {
    rest -= share;
    return rest < 0;
  });
  return index < 0 ? 1 : index + 1;
}

/** The concepts of a scene and the number of each, in the order of places. */
function counted({ objects }: Scene): [Concept, number][] {
  const counts = new Map<Concept, number>();
  for (const { concept } of objects) counts.set(concept, (counts.get(concept) ?? 0) + 1);
  return Array.from(counts);
}

function background({ background: { color, texture } }: Scene): string {
  return `on ${withArticle(texture === "plain" ? color : `${texture} ${color}`)} background`;
}

/** "a red apple left of a dog on a blue background" */
export function captionOf(scene: Scene): string {
  const [first, second] = scene.objects;
  const things = counted(scene);
  const [[only, number] = []] = things;
  if (only && number !== undefined && things.length === 1) {
    const subject = number === 1 ? withArticle(only.name) : `${numberWords[number]} ${plural(only.name)}`;
    return `${subject} ${background(scene)}`;
  }
  if (first && second && scene.objects.length === 2) {
    const relation = first.place === "left" ? "left of" : "above";
    return `${withArticle(first.concept.name)} ${relation} ${withArticle(second.concept.name)} ${background(scene)}`;
  }
  const names = things.map(([concept]) => withArticle(concept.name));
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)} ${background(scene)}`;
}

export interface Question {
  /** Question type, by which the tables of the model card are grouped. */
  readonly type: QuestionType;
  readonly question: string;
  readonly answer: string;
}

export const questionTypes = [
  "name",
  "kind",
  "background",
  "count",
  "exists",
  "kind exists",
  "relation",
  "place",
  "which of two",
  "edible",
  "alive",
] as const;
export type QuestionType = (typeof questionTypes)[number];

/** One question of each type that the scene allows. Yes and no are balanced. */
export function questionsOf(scene: Scene, concepts: readonly Concept[], random: Random): Question[] {
  return [
    ...always(scene, concepts, random),
    ...(single(scene) ? aboutOne(scene, concepts, random) : aboutSeveral(scene, random)),
  ];
}

function single({ objects }: Scene): boolean {
  return objects.length === 1;
}

function always(scene: Scene, concepts: readonly Concept[], random: Random): Question[] {
  const things = counted(scene);
  const [thing, number] = pick(random, things);
  const absent = absentFrom(scene, concepts, random);
  const asked = random() < 0.5 ? thing : absent;
  const kindAsked = random() < 0.5 ? thing.kind : absent.kind;
  const countOf = random() < 0.5 ? `${plural(thing.name)} are there` : "things are there";
  return [
    { type: "background", question: "what color is the background", answer: scene.background.color },
    {
      type: "count",
      question: `how many ${countOf}`,
      answer: numberWords[countOf.startsWith("things") ? scene.objects.length : number] ?? "",
    },
    {
      type: "exists",
      question: `is there ${withArticle(asked.name)}`,
      answer: yesOrNo(things.some(([concept]) => concept === asked)),
    },
    {
      type: "kind exists",
      question: `is there ${withArticle(kindAsked.name)}`,
      answer: yesOrNo(things.some(([concept]) => concept.kind.name === kindAsked.name)),
    },
  ];
}

function aboutOne(scene: Scene, concepts: readonly Concept[], random: Random): Question[] {
  const [object] = scene.objects;
  if (!object) return [];
  const { name, kind } = object.concept;
  const other = absentFrom(scene, concepts, random);
  const pair = random() < 0.5 ? [name, other.name] : [other.name, name];
  return [
    { type: "name", question: "what is this", answer: withArticle(name) },
    { type: "kind", question: "what kind of thing is this", answer: kind.name },
    {
      type: "which of two",
      question: `is this ${pair.map(withArticle).join(" or ")}`,
      answer: withArticle(name),
    },
    { type: "edible", question: "can you eat this", answer: yesOrNo(kind.edible) },
    { type: "alive", question: "is this alive", answer: yesOrNo(kind.alive) },
  ];
}

/** Empty if all objects are the same, because every answer would be the same. */
function aboutSeveral(scene: Scene, random: Random): Question[] {
  const [first, second] = scene.objects;
  if (!first || !second || counted(scene).length === 1) return [];
  const { concept, place } = pick(random, scene.objects);
  const where: Question = { type: "place", question: `where is the ${concept.name}`, answer: place };
  if (scene.objects.length > 2) return [where];
  const [near, far] = first.place === "left" ? ["left of", "right of"] : ["above", "below"];
  const asksFirst = random() < 0.5;
  return [
    where,
    {
      type: "relation",
      question: `what is ${asksFirst ? near : far} the ${(asksFirst ? second : first).concept.name}`,
      answer: withArticle((asksFirst ? first : second).concept.name),
    },
  ];
}

/** A concept whose kind is not in the scene either. */
function absentFrom(scene: Scene, concepts: readonly Concept[], random: Random): Concept {
  for (;;) {
    const concept = pick(random, concepts);
    if (scene.objects.every((object) => object.concept.kind.name !== concept.kind.name)) return concept;
  }
}

function yesOrNo(is: boolean): string {
  return is ? "yes" : "no";
}
