import { readFileSync } from "node:fs";
import { join } from "node:path";
import { writeAtomically } from "../../src/core/files/atomic-write.js";
import { MANIFEST_FILE, type Manifest, type Modality } from "../../src/index.js";
import type { QuestionNormalization } from "../../src/model/manifest.js";
import { backgrounds } from "./data/audio/audio-scene.js";

/** What the manifest of the bundled model says about it, in addition to what every build writes. */

/** The image and video questions that the model is asked most often, in the words of its training data. */
const background = "What color is the background?";

/** Example questions; the samples are chosen so that the model answers those that fit them correctly. */
export const exampleQuestions: Readonly<Record<Modality, string[]>> = {
  image: [
    "What is this?",
    background,
    "How many things are there?",
    "What kind of thing is this?",
    "Can you eat this?",
    "Is this alive?",
  ],
  audio: [
    "How many sounds follow each other?",
    "Is it loud or quiet?",
    "Is it near or far?",
    `What is in the background, ${backgrounds.join(" or ")}?`,
  ],
  video: ["What happens?", background, "What kind of thing is this?", "Does it move away?"],
};

const descriptions: Readonly<Record<"caption" | "vqa", Readonly<Record<Modality, string>>>> = {
  caption: {
    image:
      "Says in one sentence which drawn emoji symbols are where on which background. It does not know photographs, writing, or people.",
    audio:
      "Says which computed sounds follow each other in two seconds, how loud and how near they are, and what is in the background. It does not know recordings or speech, except for spoken numbers, which it mostly gets wrong.",
    video:
      "Says what a drawn symbol does in two seconds: it moves, grows, shrinks, turns, stays, or another appears. It does not know films, and often names the wrong symbol or direction.",
  },
  vqa: {
    image:
      "Answers short English questions about drawn symbols: what they are, how many there are, and the color of the background. Where things are it mostly gets wrong.",
    audio:
      "Answers short English questions about computed sounds: how many follow each other, how loud and near they are, and what is in the background. It cannot count beeps.",
    video: "Answers short English questions about a moving symbol: what happens and the color of the background.",
  },
};

/** The language model has seen only American spelling, lower case, and questions without small talk. */
const questionNormalization: QuestionNormalization = {
  smallTalk: [
    ...["hi", "hi there", "hello", "hello there", "hey", "hey there", "hi epalm", "hello epalm", "dear model"],
    ...["good morning", "good afternoon", "good evening", "good day", "greetings"],
    ...["thanks", "thank you", "many thanks", "thanks a lot", "thank you very much", "thank you so much"],
    ...["thanks in advance", "thank you in advance", "cheers", "thx", "ty"],
    ...["excuse me", "sorry", "pardon", "pardon me", "ok", "okay", "so", "well", "um", "uh", "now", "and", "but"],
    ...["can", "could", "would", "will"].flatMap((verb) =>
      ["tell", "say", "tell me", "show me", "explain to me", "let me know", "answer", "describe"].flatMap((rest) => [
        `${verb} you ${rest}`,
        `${verb} you maybe ${rest}`,
        `${verb} you possibly ${rest}`,
        `${verb} you quickly ${rest}`,
        `${verb} you also ${rest}`,
      ]),
    ),
    ...["can you help me", "could you help me", "would you mind telling me", "do you mind telling me"],
    ...["are you able to tell me", "do you know", "do you happen to know", "any idea", "do you have any idea"],
    ...["tell me", "just tell me", "let me know", "answer me", "answer", "answer this", "answer this question"],
    ...["answer the following question", "question", "quick question", "a quick question", "one question"],
    ...["i have a question", "i've a question", "i have a quick question", "my question is", "here is my question"],
    ...["i'd like to know", "i would like to know", "i want to know", "i wanna know", "i need to know"],
    ...["i was wondering", "i am wondering", "i'm wondering", "i wonder", "i'm curious", "i am curious"],
    ...["out of curiosity", "by the way", "btw", "if you can", "if you don't mind", "if possible"],
    ...["for me", "to me", "exactly", "actually", "just", "really", "you think", "do you think"],
  ],
  spelling: {
    please: "",
    kindly: "",
    pls: "",
    plz: "",
    colour: "color",
    colours: "colors",
    coloured: "colored",
    colur: "color",
    coulor: "color",
    collor: "color",
    grey: "gray",
    backround: "background",
    backgound: "background",
    "back-ground": "background",
    "what's": "what is",
    whats: "what is",
    "where's": "where is",
    wheres: "where is",
    "how's": "how is",
    "who's": "who is",
    "there's": "there is",
    "it's": "it is",
    chequered: "checkered",
  },
  directWordOrder: true,
};

/** Adds descriptions, example questions and the normalization of questions to the manifest of a built folder. */
export function describeModel(folder: string): void {
  const path = join(folder, MANIFEST_FILE);
  const manifest = JSON.parse(readFileSync(path, "utf8")) as Manifest;
  const { caption, vqa } = manifest.tasks;
  const modalities = [manifest.encoder, ...(manifest.otherEncoders ?? [])].map(({ modality }) => modality);
  const of = <T>(make: (modality: Modality) => T) => Object.fromEntries(modalities.map((one) => [one, make(one)]));
  const tasks = {
    caption: { ...caption, capabilities: of((modality) => ({ description: descriptions.caption[modality] })) },
    vqa: {
      ...vqa,
      questionNormalization,
      capabilities: of((modality) => ({
        description: descriptions.vqa[modality],
        exampleQuestions: exampleQuestions[modality],
      })),
    },
  };
  writeAtomically(path, `${JSON.stringify({ ...manifest, tasks }, undefined, 2)}\n`);
}
