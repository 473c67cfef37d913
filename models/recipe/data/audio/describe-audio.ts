import type { Random } from "../../../../src/core/random.js";
import { pick } from "../images/scene.js";
import { withArticle } from "../text/concepts.js";
import { type AudioEvent, type AudioScene, backgrounds, numberWords, type Source, sources } from "./audio-scene.js";

/** "three fast beeps", "a low bell", "a voice saying seven" */
function describeEvent(event: AudioEvent): string {
  switch (event.source) {
    case "whistle":
      return `a ${event.direction} whistle`;
    case "beeps":
      return event.count === 1 ? "one beep" : `${numberWords[event.count - 1]} ${event.speed} beeps`;
    case "noise":
      return `${event.color} noise`;
    case "voice":
      return `a voice saying ${event.word}`;
    case "drum":
    case "siren":
      return `a ${event.source}`;
    default:
      return `a ${event.pitch} ${event.source}`;
  }
}

/** "a bell"; "beeps" and "noise" have no article. */
function named(source: Source): string {
  return source === "beeps" || source === "noise" ? source : withArticle(source);
}

const behind = (scene: AudioScene, words: string) =>
  scene.background === "silence"
    ? ""
    : ` ${words} ${scene.background === "hiss" ? "hiss" : withArticle(scene.background)}`;

/** Several wordings of the same content, the simplest first. */
export function captionsOf(scene: AudioScene): string[] {
  const events = scene.events.map(describeEvent);
  const away = scene.distance === "far" ? "far away" : "near";
  return [
    `${events.join(" then ")}, ${scene.loudness} and ${scene.distance}${behind(scene, "with")}`,
    `the ${scene.loudness} sound of ${events.join(" and then ")} ${away}${behind(scene, "over")}`,
    `${events.join(" followed by ")}, ${scene.loudness}, ${away}${behind(scene, "and")}`,
  ];
}

export const audioQuestionTypes = [
  "source",
  "first",
  "last",
  "which first",
  "exists",
  "sounds",
  "pitch",
  "direction",
  "beeps",
  "speed",
  "noise color",
  "word",
  "background",
  "loudness",
  "distance",
] as const;
export type AudioQuestionType = (typeof audioQuestionTypes)[number];

export interface AudioQuestion {
  /** Question type, by which the tables of the model card are grouped. */
  readonly type: AudioQuestionType;
  readonly question: string;
  readonly answer: string;
}

/** One question of each type that the scene allows. Yes and no are balanced, and so are both of two alternatives. */
export function audioQuestionsOf(scene: AudioScene, random: Random): AudioQuestion[] {
  const { events, loudness, distance, background } = scene;
  const present = events.map(({ source }) => source);
  const absent = pick(
    random,
    sources.filter((source) => !present.includes(source)),
  );
  const asked = random() < 0.5 ? pick(random, present) : absent;
  const verb = asked === "beeps" ? "are" : "is";
  return [
    {
      type: "exists",
      question: `${verb} there ${named(asked)}`,
      answer: asked === absent ? "no" : "yes",
    },
    {
      type: "sounds",
      question: "how many sounds follow each other",
      answer: numberWords[events.length - 1] ?? "",
    },
    { type: "loudness", question: "is it loud or quiet", answer: loudness },
    { type: "distance", question: "is it near or far", answer: distance },
    ...(present.includes("noise")
      ? []
      : [
          {
            type: "background" as const,
            question: `what is in the background, ${backgrounds.join(" or ")}`,
            answer: background,
          },
        ]),
    ...aboutOrder(present, random),
    ...events.flatMap(aboutEvent),
  ];
}

function aboutOrder(present: readonly Source[], random: Random): AudioQuestion[] {
  const [first, second] = present;
  if (!first) return [];
  if (!second) return [{ type: "source", question: "what is this sound", answer: named(first) }];
  const pair = random() < 0.5 ? [first, second] : [second, first];
  return [
    { type: "first", question: "what comes first", answer: named(first) },
    { type: "last", question: "what comes last", answer: named(second) },
    {
      type: "which first",
      question: `which comes first, ${pair.map(named).join(" or ")}`,
      answer: named(first),
    },
  ];
}

function aboutEvent(event: AudioEvent): AudioQuestion[] {
  switch (event.source) {
    case "whistle":
      return [{ type: "direction", question: "is the whistle rising or falling", answer: event.direction }];
    case "beeps": {
      const count = numberWords[event.count - 1] ?? "";
      const speed: AudioQuestion = {
        type: "speed",
        question: "are the beeps slow or fast",
        answer: event.speed,
      };
      // A single beep has no speed.
      return [
        { type: "beeps", question: "how many beeps are there", answer: count },
        ...(event.count > 1 ? [speed] : []),
      ];
    }
    case "noise":
      return [{ type: "noise color", question: "what color is the noise", answer: event.color }];
    case "voice":
      return [{ type: "word", question: "what number does the voice say", answer: event.word }];
    case "drum":
    case "siren":
      return [];
    default:
      return [
        {
          type: "pitch",
          question: `is the ${event.source} low, middle or high`,
          answer: event.pitch,
        },
      ];
  }
}

/** The attributes of `audioLabels`. */
export const audioAttributes: readonly string[] = [
  ...["loudness", "distance", "background", "sounds", "first", "second", "first pitch", "second pitch"],
  ...["direction", "noise color", "word", "beeps", "speed"],
];

/** The labels that the encoder learns to predict, by attribute. */
export function audioLabels({ events, loudness, distance, background }: AudioScene): Record<string, string> {
  const labels: Record<string, string> = { loudness, distance, background, sounds: String(events.length) };
  events.forEach((event, place) => {
    const order = place === 0 ? "first" : "second";
    labels[order] = event.source;
    if ("pitch" in event) labels[`${order} pitch`] = event.pitch;
    if ("direction" in event) labels.direction = event.direction;
    if ("color" in event) labels["noise color"] = event.color;
    if ("word" in event) labels.word = event.word;
    if ("count" in event) {
      labels.beeps = String(event.count);
      if (event.count > 1) labels.speed = event.speed;
    }
  });
  return labels;
}
