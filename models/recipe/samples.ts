import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { randomStreams } from "../../src/generation/random.js";
import { HELD_OUT, readConcepts, type Style } from "./concepts.js";
import { arrange, SceneArtist } from "./draw-scene.js";
import type { Background, Place, Scene } from "./scene.js";

/** Pixels: the model sees less, people see more. */
const SIDE = 320;

interface Sample {
  readonly background: Background;
  readonly objects: readonly (readonly [name: string, place: Place])[];
}

/** In the style that nothing was trained on. */
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

/** Draws the pictures that the page offers and the README asks about. */
export async function drawSamples(folder: string): Promise<void> {
  const concepts = new Map(readConcepts().map((concept) => [concept.name, concept]));
  const artist = new SceneArtist();
  mkdirSync(folder, { recursive: true });
  for (const [index, [name, { background, objects }]] of Object.entries(samples).entries()) {
    const [random = Math.random] = randomStreams(index, 1);
    const scene: Scene = {
      background,
      objects: objects.map(([object, place]) => {
        const concept = concepts.get(object);
        if (!concept) throw new Error(`sample ${name}: no concept is called ${object}`);
        return { concept, place };
      }),
    };
    const arranged = arrange(scene, SIDE, random);
    const styles = objects.map((): Style => HELD_OUT);
    writeFileSync(join(folder, `${name}.jpg`), await artist.draw(scene, styles, arranged, SIDE, random));
  }
}
