import type { Random } from "../../../../src/core/random.js";
import { pick } from "../images/scene.js";

/**
 * An audio scene before it is rendered: its events, loudness, distance and background. Captions, questions and labels
 * are derived from it.
 */
export interface AudioScene {
  /** One event, or two in their order. */
  readonly events: readonly AudioEvent[];
  readonly loudness: Loudness;
  readonly distance: Distance;
  readonly background: Background;
}

export type AudioEvent =
  | { readonly source: PitchedSource; readonly pitch: Pitch }
  | { readonly source: "whistle"; readonly direction: Direction }
  | { readonly source: "beeps"; readonly count: number; readonly speed: Speed }
  | { readonly source: "noise"; readonly color: NoiseColor }
  | { readonly source: "voice"; readonly word: SpokenNumber }
  | { readonly source: "drum" | "siren" };

export const pitchedSources = ["tone", "guitar", "organ", "flute", "violin", "bell"] as const;
export type PitchedSource = (typeof pitchedSources)[number];

export const sources = [...pitchedSources, "drum", "whistle", "beeps", "noise", "siren", "voice"] as const;
export type Source = (typeof sources)[number];

export const pitches = ["low", "middle", "high"] as const;
export type Pitch = (typeof pitches)[number];

export const directions = ["rising", "falling"] as const;
export type Direction = (typeof directions)[number];

export const speeds = ["slow", "fast"] as const;
export type Speed = (typeof speeds)[number];

export const noiseColors = ["white", "pink", "brown"] as const;
export type NoiseColor = (typeof noiseColors)[number];

export const numberWords = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"] as const;
export type SpokenNumber = (typeof numberWords)[number];

export const loudnesses = ["loud", "quiet"] as const;
export type Loudness = (typeof loudnesses)[number];

export const distances = ["near", "far"] as const;
export type Distance = (typeof distances)[number];

export const backgrounds = ["silence", "hiss", "hum", "crackle"] as const;
export type Background = (typeof backgrounds)[number];

export const MAX_BEEPS = 5;
/** More slow beeps do not fit beside another event. */
const MAX_SLOW_BEEPS_OF_TWO = 3;

const TWO_EVENTS_SHARE = 0.5;
const SILENCE_SHARE = 0.4;

/** `training`: scenes without any held-out combination; `held-out`: scenes with one. */
export type Combinations = "training" | "held-out";

export function randomAudioScene(random: Random, combinations: Combinations): AudioScene {
  for (;;) {
    const scene = anyScene(random);
    if (hasHeldOutCombination(scene) === (combinations === "held-out")) return scene;
  }
}

function anyScene(random: Random): AudioScene {
  const count = random() < TWO_EVENTS_SHARE ? 2 : 1;
  const chosen = new Set<Source>();
  while (chosen.size < count) chosen.add(pick(random, sources));
  const events = Array.from(chosen, (source) => randomEvent(random, source, count));
  // Behind noise, no other background can be recognised.
  const isNoise = count === 1 && chosen.has("noise");
  const silent = isNoise || random() < SILENCE_SHARE;
  return {
    events,
    loudness: pick(random, loudnesses),
    distance: pick(random, distances),
    background: silent ? "silence" : pick(random, backgrounds.slice(1)),
  };
}

function randomEvent(random: Random, source: Source, events: number): AudioEvent {
  switch (source) {
    case "drum":
    case "siren":
      return { source };
    case "whistle":
      return { source, direction: pick(random, directions) };
    case "beeps": {
      const speed = pick(random, speeds);
      const most = speed === "slow" && events > 1 ? MAX_SLOW_BEEPS_OF_TWO : MAX_BEEPS;
      return { source, speed, count: 1 + Math.floor(random() * most) };
    }
    case "noise":
      return { source, color: pick(random, noiseColors) };
    case "voice":
      return { source, word: pick(random, numberWords) };
    default:
      return { source, pitch: pick(random, pitches) };
  }
}

/** A pair of sources, in either order, is held out if the sum of their indices is a multiple of this number. */
const HELD_OUT_PAIRS = 5;

const heldOutPitches: Readonly<Partial<Record<PitchedSource, Pitch>>> = {
  guitar: "high",
  flute: "low",
  bell: "middle",
};

const heldOutBeeps: Readonly<Record<Speed, number>> = { slow: 4, fast: 2 };

/**
 * Whether a scene has a combination that training never hears: some pairs of sources, instruments at some pitches, and
 * numbers of beeps at some speeds.
 */
export function hasHeldOutCombination({ events }: AudioScene): boolean {
  const places = events.map(({ source }) => sources.indexOf(source));
  const isPair = places.length === 2 && places.reduce((sum, place) => sum + place, 0) % HELD_OUT_PAIRS === 0;
  return isPair || events.some(isHeldOutEvent);
}

function isHeldOutEvent(event: AudioEvent): boolean {
  if ("pitch" in event) return heldOutPitches[event.source] === event.pitch;
  return event.source === "beeps" && heldOutBeeps[event.speed] === event.count;
}
