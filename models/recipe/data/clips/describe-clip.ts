import type { Random } from "../../../../src/core/random.js";
import { pick } from "../images/scene.js";
import { type Concept, withArticle } from "../text/concepts.js";
import type { Action, ClipEvent, ClipScene, Heading } from "./clip-scene.js";

const towards: Readonly<Record<Heading, string>> = {
  left: "to the left",
  right: "to the right",
  up: "up",
  down: "down",
};

const paceWords = { slow: "slowly", fast: "quickly" } as const;

/** "a rocket moves quickly to the left on a blue background" */
export function captionOfClip({ background, event }: ClipScene): string {
  return `${happening(event)} on ${withArticle(background)} background`;
}

function happening(event: ClipEvent): string {
  switch (event.action) {
    case "moves":
      return `${withArticle(event.thing.name)} moves ${paceWords[event.pace]} ${towards[event.direction]}`;
    case "appears":
      return `${withArticle(event.first.name)} and then ${withArticle(event.second.name)}`;
    case "stays":
      return `${withArticle(event.thing.name)} stays still`;
    default:
      return `${withArticle(event.thing.name)} ${event.action}`;
  }
}

export const clipQuestionTypes = [
  "background",
  "exists",
  "name",
  "kind",
  "action",
  "moves",
  "direction",
  "pace",
  "size",
  "first",
  "last",
  "which first",
] as const;
export type ClipQuestionType = (typeof clipQuestionTypes)[number];

export interface ClipQuestion {
  /** Question type, by which the tables of the model card are grouped. */
  readonly type: ClipQuestionType;
  readonly question: string;
  readonly answer: string;
}

const actionWords: Readonly<Record<Action, string>> = {
  moves: "it moves",
  grows: "it grows",
  shrinks: "it shrinks",
  turns: "it turns",
  stays: "it stays still",
  appears: "something else appears",
};

/** One question of each type that the clip allows. Yes and no are balanced. */
export function clipQuestionsOf(
  { background, event }: ClipScene,
  concepts: readonly Concept[],
  random: Random,
): ClipQuestion[] {
  const present = event.action === "appears" ? [event.first, event.second] : [event.thing];
  const kinds = new Set(present.map(({ kind }) => kind.name));
  const absent = pick(
    random,
    concepts.filter(({ kind }) => !kinds.has(kind.name)),
  );
  const asked = random() < 0.5 ? pick(random, present) : absent;
  return [
    { type: "background", question: "what color is the background", answer: background },
    { type: "exists", question: `is there ${withArticle(asked.name)}`, answer: yesOrNo(asked !== absent) },
    { type: "action", question: "what happens", answer: actionWords[event.action] },
    ...(event.action === "appears" ? aboutOrder(event.first, event.second, random) : aboutThing(event, event.thing)),
  ];
}

function aboutOrder(first: Concept, second: Concept, random: Random): ClipQuestion[] {
  const pair = (random() < 0.5 ? [first, second] : [second, first]).map(({ name }) => withArticle(name));
  return [
    { type: "first", question: "what is there first", answer: withArticle(first.name) },
    { type: "last", question: "what appears later", answer: withArticle(second.name) },
    {
      type: "which first",
      question: `which is there first, ${pair.join(" or ")}`,
      answer: withArticle(first.name),
    },
  ];
}

function aboutThing(event: ClipEvent, { name, kind }: Concept): ClipQuestion[] {
  const questions: ClipQuestion[] = [
    { type: "name", question: "what is this", answer: withArticle(name) },
    { type: "kind", question: "what kind of thing is this", answer: kind.name },
    { type: "moves", question: "does it move away", answer: yesOrNo(event.action === "moves") },
  ];
  if (event.action === "moves") {
    questions.push(
      { type: "direction", question: "where does it move", answer: towards[event.direction] },
      { type: "pace", question: "does it move slowly or quickly", answer: paceWords[event.pace] },
    );
  }
  if (event.action === "grows" || event.action === "shrinks") {
    questions.push({ type: "size", question: "does it grow or shrink", answer: `it ${event.action}` });
  }
  return questions;
}

function yesOrNo(is: boolean): string {
  return is ? "yes" : "no";
}

/** The attributes of `clipLabels`. */
export const clipAttributes: readonly string[] = [
  ...["background", "name", "kind", "action", "direction", "pace", "first thing", "second thing"],
];

/** The labels that the encoder learns to predict, by attribute. */
export function clipLabels({ background, event }: ClipScene): Record<string, string> {
  const labels = { background, action: event.action };
  if (event.action === "appears") {
    return { ...labels, "first thing": event.first.name, "second thing": event.second.name };
  }
  const { name, kind } = event.thing;
  const motion = event.action === "moves" ? { direction: event.direction, pace: event.pace } : {};
  return { ...labels, name, kind: kind.name, ...motion };
}
