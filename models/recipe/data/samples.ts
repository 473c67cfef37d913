import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Random, randomStreams } from "../../../src/core/random.js";
import type { Modality } from "../../../src/index.js";
import { type AudioScene, randomAudioScene } from "./audio/audio-scene.js";
import { audioQuestionsOf, captionsOf } from "./audio/describe-audio.js";
import { renderScene } from "./audio/render-scene.js";
import { encodeWav } from "./audio/wav.js";
import { type ClipScene, randomClipScene } from "./clips/clip-scene.js";
import { captionOfClip, clipQuestionsOf } from "./clips/describe-clip.js";
import { drawClip, FRAMES_PER_SECOND } from "./clips/draw-clip.js";
import { writeVideo } from "./clips/write-video.js";
import { arrange, SceneArtist } from "./images/draw-scene.js";
import { IconRasters } from "./images/icon-looks.js";
import { captionOf, questionsOf, randomScene, type Scene } from "./images/scene.js";
import { drawable } from "./images/scene-sets.js";
import { type Concept, HELD_OUT, readDrawableConcepts, type Style } from "./text/concepts.js";

/** Pixels: more than the model's input has, for the people who look at the samples. */
const SIDE = 320;
/** Pixels. The icons of clips are scaled up from at most 96 pixels. */
const CLIP_SIDE = 160;
/** Constant rate factor of the clips; see `VideoOptions`. */
const CLIP_LOSS = 26;

/** A medium that can become a sample, with everything that is known about its content. */
export interface Candidate {
  readonly modality: Modality;
  /** File name: the content in words. */
  readonly name: string;
  /** All correct captions, the simplest first. */
  readonly captions: readonly string[];
  readonly questions: readonly { readonly question: string; readonly answer: string }[];
  bytes(): Promise<Uint8Array>;
}

/** The candidates for one of the samples; the same index gives the same candidate. */
export type Slot = (index: number) => Candidate;

/**
 * The samples in the held-out style and the held-out timbres: each slot has a different kind of content. Index 0 of
 * some slots is written by hand, because the documentation uses these files; all others are random.
 */
export async function sampleSlots(modalities: readonly Modality[]): Promise<readonly Slot[]> {
  const concepts = await drawable(readDrawableConcepts(), "held-out style");
  const slots: Readonly<Record<Modality, readonly Slot[]>> = {
    image: imageSlots(concepts),
    audio: audioSlots(),
    video: videoSlots(concepts),
  };
  return modalities.flatMap((modality) => slots[modality]);
}

/** Streams of random numbers that no other slot uses. */
function streamsOf(slot: number, index: number): readonly [Random, Random] {
  const [content = Math.random, drawing = Math.random] = randomStreams(1_000_000 * slot + index, 2);
  return [content, drawing];
}

function imageSlots(concepts: readonly Concept[]): Slot[] {
  const named = (name: string) => concepts.find((concept) => concept.name === name);
  const apple = named("red apple");
  const [cat, hamburger] = [named("cat"), named("hamburger")];
  const written: readonly (Scene | undefined)[] = [
    apple && { background: { color: "blue", texture: "plain" }, objects: [{ concept: apple, place: "middle" }] },
    cat &&
      hamburger && {
        background: { color: "yellow", texture: "dotted" },
        objects: [
          { concept: cat, place: "left" },
          { concept: hamburger, place: "right" },
        ],
      },
  ];
  const kinds: readonly ((random: Random) => Scene)[] = [
    (random) => randomScene(random, concepts, 1),
    // Two different things, which the model almost always gets wrong: the sample that shows this.
    (random) => until(random, concepts, 2, ({ objects: [a, b] }) => a?.concept !== b?.concept),
    (random) => until(random, concepts, 1, ({ background }) => background.texture === "plain"),
    (random) => until(random, concepts, 2, isOfOneKind),
    (random) => until(random, concepts, 3, isOfOneKind),
    (random) => until(random, concepts, 4, isOfOneKind),
  ];
  return kinds.map((kind, slot) => (index) => {
    const [content, drawing] = streamsOf(slot, index);
    const scene = (index === 0 && written[slot]) || kind(content);
    const questions = questionsOf(scene, concepts, content).map(({ question, answer }) => ({ question, answer }));
    return {
      modality: "image",
      name: `${wordsOf(captionOf(scene).replace(/ on an? [\w ]+ background$/, ""))}.jpg`,
      captions: [captionOf(scene)],
      // The number of all things, which `questionsOf` does not always ask for.
      questions: [...questions, { question: "how many things are there", answer: countOf(scene) }],
      bytes: () => drawScene(scene, drawing),
    };
  });
}

function until(random: Random, concepts: readonly Concept[], count: number, fits: (scene: Scene) => boolean): Scene {
  for (;;) {
    const scene = randomScene(random, concepts, count);
    if (fits(scene)) return scene;
  }
}

function isOfOneKind({ objects }: Scene): boolean {
  return objects.every(({ concept }) => concept === objects[0]?.concept);
}

function countOf({ objects }: Scene): string {
  return ["no", "one", "two", "three", "four"][objects.length] ?? "";
}

async function drawScene(scene: Scene, random: Random): Promise<Uint8Array> {
  const styles = scene.objects.map((): Style => HELD_OUT);
  return new SceneArtist().draw(scene, styles, arrange(scene, SIDE, random), SIDE, random);
}

function audioSlots(): Slot[] {
  const written: readonly AudioScene[] = [
    {
      events: [{ source: "beeps", count: 3, speed: "fast" }],
      ...{ loudness: "loud", distance: "near", background: "silence" },
    },
    {
      events: [
        { source: "bell", pitch: "low" },
        { source: "whistle", direction: "rising" },
      ],
      ...{ loudness: "loud", distance: "near", background: "hiss" },
    },
  ];
  return written.map((first, slot) => (index) => {
    const [content, rendering] = streamsOf(10 + slot, index);
    const scene = index === 0 ? first : audioScene(content, first.events.length);
    const captions = captionsOf(scene);
    return {
      modality: "audio",
      name: `${wordsOf(captions[0]?.replace(/,.*/, "") ?? "")}.wav`,
      captions,
      questions: audioQuestionsOf(scene, content),
      // The scenes contain no voice.
      bytes: async () => encodeWav(renderScene(scene, { timbre: "held-out", spoken: new Map(), random: rendering })),
    };
  });
}

function audioScene(random: Random, events: number): AudioScene {
  for (;;) {
    const scene = randomAudioScene(random, "training");
    if (scene.events.length === events && scene.events.every(({ source }) => source !== "voice")) return scene;
  }
}

function videoSlots(concepts: readonly Concept[]): Slot[] {
  const actions: readonly ((scene: ClipScene) => boolean)[] = [
    ({ event }) => event.action === "moves",
    ({ event }) => event.action === "grows" || event.action === "shrinks",
  ];
  return actions.map((fits, slot) => (index) => {
    const [content, drawing] = streamsOf(20 + slot, index);
    const scene = clipScene(content, concepts, fits);
    return {
      modality: "video",
      name: `${wordsOf(captionOfClip(scene).replace(/ on an? [\w ]+ background$/, ""))}.mp4`,
      captions: [captionOfClip(scene)],
      questions: clipQuestionsOf(scene, concepts, content),
      bytes: () => encodeClip(scene, drawing),
    };
  });
}

function clipScene(random: Random, concepts: readonly Concept[], fits: (scene: ClipScene) => boolean): ClipScene {
  for (;;) {
    const scene = randomClipScene(random, concepts, "training");
    if (fits(scene)) return scene;
  }
}

async function encodeClip(scene: ClipScene, random: Random): Promise<Uint8Array> {
  const frames = await drawClip(scene, { rasters: new IconRasters(), side: CLIP_SIDE, random });
  const folder = mkdtempSync(join(tmpdir(), "epalm-clip-"));
  try {
    const path = join(folder, "clip.mp4");
    await writeVideo(path, frames, { framesPerSecond: FRAMES_PER_SECOND, loss: CLIP_LOSS });
    return readFileSync(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** `a red apple` -> `red-apple` */
function wordsOf(content: string): string {
  return content
    .toLowerCase()
    .replace(/^an? /, "")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
}
