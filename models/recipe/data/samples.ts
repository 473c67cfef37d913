import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { randomStreams } from "../../../src/core/random.js";
import type { Modality } from "../../../src/index.js";
import type { AudioScene } from "./audio/audio-scene.js";
import { renderScene } from "./audio/render-scene.js";
import { encodeWav } from "./audio/wav.js";
import type { ClipEvent } from "./clips/clip-scene.js";
import { drawClip, FRAMES_PER_SECOND } from "./clips/draw-clip.js";
import { writeVideo } from "./clips/write-video.js";
import { arrange, SceneArtist } from "./images/draw-scene.js";
import { IconRasters } from "./images/icon-looks.js";
import type { Background, ColorName, Place, Scene } from "./images/scene.js";
import { drawable } from "./images/scene-sets.js";
import { type Concept, HELD_OUT, readConcepts, readDrawableConcepts, type Style } from "./text/concepts.js";

/** Pixels: more than the model's input has, for the people who look at the samples. */
const SIDE = 320;
/** Pixels. The icons of clips are scaled up from at most 96 pixels. */
const CLIP_SIDE = 160;

interface Sample {
  readonly background: Background;
  readonly objects: readonly (readonly [name: string, place: Place])[];
}

/** Scenes in the held-out style. */
const samples: Readonly<Record<string, Sample>> = {
  "red-apple": { background: { color: "blue", texture: "plain" }, objects: [["red apple", "middle"]] },
  "cat-and-hamburger": {
    background: { color: "yellow", texture: "dotted" },
    objects: [
      ["cat", "left"],
      ["hamburger", "right"],
    ],
  },
  "three-stars": {
    background: { color: "purple", texture: "striped" },
    objects: [
      ["star", "top"],
      ["star", "bottom left"],
      ["star", "bottom right"],
    ],
  },
  "rocket-above-palm": {
    background: { color: "pink", texture: "plain" },
    objects: [
      ["rocket", "top"],
      ["palm tree", "bottom"],
    ],
  },
  sunflower: {
    background: { color: "gray", texture: "checkered" },
    objects: [["sunflower", "middle"]],
  },
  "four-fish": {
    background: { color: "green", texture: "plain" },
    objects: [
      ["fish", "top left"],
      ["fish", "top right"],
      ["fish", "bottom left"],
      ["fish", "bottom right"],
    ],
  },
};

const audioScenes: Readonly<Record<string, AudioScene>> = {
  "three-fast-beeps": {
    events: [{ source: "beeps", count: 3, speed: "fast" }],
    ...{ loudness: "loud", distance: "near", background: "silence" },
  },
  "bell-then-whistle": {
    events: [
      { source: "bell", pitch: "low" },
      { source: "whistle", direction: "rising" },
    ],
    ...{ loudness: "loud", distance: "near", background: "hiss" },
  },
};

const clips: Readonly<Record<string, { readonly background: ColorName; event(thing: Concept): ClipEvent }>> = {
  "rocket-moves": {
    background: "blue",
    event: (thing) => ({ action: "moves", thing, direction: "up", pace: "fast" }),
  },
  "sunflower-grows": { background: "yellow", event: (thing) => ({ action: "grows", thing }) },
};

const makers: Readonly<Record<Modality, (folder: string) => Promise<void>>> = {
  image: drawImages,
  audio: playAudio,
  video: drawClips,
};

/** Makes the sample media for the page of `epalm serve` and for the README. */
export async function makeSamples(folder: string, modalities: readonly Modality[]): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const modality of modalities) await makers[modality](folder);
}

/** Renders the audio samples with the held-out timbres. */
async function playAudio(folder: string): Promise<void> {
  for (const [index, [name, scene]] of Object.entries(audioScenes).entries()) {
    const [random = Math.random] = randomStreams(index, 1);
    // The scenes contain no voice.
    const samples = renderScene(scene, { timbre: "held-out", spoken: new Map(), random });
    writeFileSync(join(folder, `${name}.wav`), encodeWav(samples));
  }
}

async function drawClips(folder: string): Promise<void> {
  const drawn = await drawable(readDrawableConcepts(), "held-out style");
  const rasters = new IconRasters();
  for (const [index, [name, { background, event }]] of Object.entries(clips).entries()) {
    const [random = Math.random] = randomStreams(index, 1);
    const [object = ""] = name.split("-");
    const thing = drawn.find((concept) => concept.name === object);
    if (!thing) throw new Error(`sample ${name}: no concept is named '${object}'`);
    const frames = await drawClip({ background, event: event(thing) }, { rasters, side: CLIP_SIDE, random });
    await writeVideo(join(folder, `${name}.mp4`), frames, { framesPerSecond: FRAMES_PER_SECOND, loss: 20 });
  }
}

async function drawImages(folder: string): Promise<void> {
  const concepts = new Map(readConcepts().map((concept) => [concept.name, concept]));
  const artist = new SceneArtist();
  for (const [index, [name, { background, objects }]] of Object.entries(samples).entries()) {
    const [random = Math.random] = randomStreams(index, 1);
    const scene: Scene = {
      background,
      objects: objects.map(([object, place]) => {
        const concept = concepts.get(object);
        if (!concept) throw new Error(`sample ${name}: no concept is named '${object}'`);
        return { concept, place };
      }),
    };
    const arranged = arrange(scene, SIDE, random);
    const styles = objects.map((): Style => HELD_OUT);
    writeFileSync(join(folder, `${name}.jpg`), await artist.draw(scene, styles, arranged, SIDE, random));
  }
}
