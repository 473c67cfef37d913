import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Modality } from "../../../src/index.js";
import { type AudioSetOptions, writeAudioSet } from "./audio/audio-sets.js";
import { type ClipSetOptions, writeClipSet } from "./clips/clip-sets.js";
import { type SceneSetOptions, writeSceneSet } from "./images/scene-sets.js";

/**
 * The data on which the bundled model is trained and evaluated. The seeds are far enough apart that no example occurs
 * in two sets.
 */

/** Side of an image in pixels, for all parts of the build. */
export const SIDE = 112;

/**
 * `calibration` is what familiarity and confidence are measured on. The last two are for tests only: a style and scenes
 * that training never sees.
 */
export const sceneSets = {
  train: { count: 16_000, seed: 5_000_000, styles: "training" },
  validation: { count: 500, seed: 140_000_000, styles: "training" },
  calibration: { count: 4000, seed: 110_000_000, styles: "training" },
  style: { count: 1500, seed: 10_000_000, styles: "held-out style" },
  compositions: { count: 1500, seed: 20_000_000, styles: "training" },
} as const satisfies Readonly<Record<string, Omit<SceneSetOptions, "folder" | "side" | "onImage">>>;

/** As for scenes; the last two are for tests only: timbres and combinations that training never hears. */
const audioSets: Readonly<Record<string, Omit<AudioSetOptions, "folder" | "onAudio">>> = {
  train: { count: 8000, seed: 30_000_000, timbre: "training", combinations: "training" },
  validation: { count: 500, seed: 150_000_000, timbre: "training", combinations: "training" },
  calibration: { count: 1000, seed: 120_000_000, timbre: "training", combinations: "training" },
  timbres: { count: 1500, seed: 40_000_000, timbre: "held-out", combinations: "training" },
  combinations: { count: 1500, seed: 50_000_000, timbre: "training", combinations: "held-out" },
};

/** As for scenes; the last two are for tests only: a style and combinations that training never sees. */
const clips: Readonly<Record<string, Omit<ClipSetOptions, "folder" | "side" | "onClip">>> = {
  train: { count: 6000, seed: 70_000_000, styles: "training", combinations: "training" },
  validation: { count: 500, seed: 145_000_000, styles: "training", combinations: "training" },
  calibration: { count: 600, seed: 130_000_000, styles: "training", combinations: "training" },
  style: { count: 1000, seed: 80_000_000, styles: "held-out style", combinations: "training" },
  combinations: { count: 1000, seed: 90_000_000, styles: "training", combinations: "held-out" },
};

interface Maker {
  /** Folder of the sets, relative to the folder of the build. */
  readonly folder: string;
  readonly sets: readonly string[];
  make(name: string, folder: string, onMade: (count: number) => void): Promise<void>;
}

const makers: Readonly<Record<Modality, Maker>> = {
  image: {
    folder: "scenes",
    sets: Object.keys(sceneSets),
    make: async (name, folder, onImage) => {
      const set = Object.entries(sceneSets).find(([known]) => known === name)?.[1];
      if (set) await writeSceneSet({ ...set, folder, side: SIDE, onImage });
    },
  },
  audio: {
    folder: "sounds",
    sets: Object.keys(audioSets),
    make: async (name, folder, onAudio) => {
      const set = audioSets[name];
      if (set) await writeAudioSet({ ...set, folder, onAudio });
    },
  },
  video: {
    folder: "clips",
    sets: Object.keys(clips),
    make: async (name, folder, onClip) => {
      const set = clips[name];
      if (set) await writeClipSet({ ...set, folder, side: SIDE, onClip });
    },
  },
};

export interface MakeOptions {
  /** Folder of the build, with all intermediate results. */
  readonly work: string;
  readonly say: (what: string) => void;
}

export async function makeSets(modality: Modality, options: MakeOptions): Promise<void> {
  for (const name of makers[modality].sets) await makeSet(modality, name, options);
}

/** Returns the folder of a set, which is made if it does not exist yet. */
export async function makeSet(modality: Modality, name: string, { work, say }: MakeOptions): Promise<string> {
  const folder = setFolder(work, modality, name);
  if (existsSync(join(folder, "labels.jsonl"))) return folder;
  await makers[modality].make(name, folder, (count) => {
    if (count % 1000 === 0) say(`${folder}: ${count} written`);
  });
  return folder;
}

export function setFolder(work: string, modality: Modality, name: string): string {
  return join(work, makers[modality].folder, name);
}
