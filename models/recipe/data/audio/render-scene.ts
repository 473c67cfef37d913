import type { Random } from "../../../../src/core/random.js";
import type { AudioScene, Background, Distance, Loudness } from "./audio-scene.js";
import { playEvent, type Timbre } from "./play-event.js";
import {
  addAt,
  atPeakOne,
  between,
  betweenRatios,
  harmonics,
  highPass,
  lowPass,
  partialsOver,
  reverberation,
  type Signal,
  samplesOf,
  scaled,
  sum,
  whiteNoise,
} from "./signals.js";
import type { SpokenNumbers } from "./speech.js";

/** Length of an audio scene in seconds. */
const LENGTH = [2.2, 2.5] as const;
/** Seconds before, between and after events. */
const START = [0.02, 0.2] as const;
const PAUSE = [0.08, 0.18] as const;
const REST = 0.1;
/** Length of each of two events in seconds, at most. */
const ONE_OF_TWO = [0.85, 1] as const;

/** Peak amplitudes, far enough apart that no loudness is ambiguous. */
const peaks: Readonly<Record<Loudness, readonly [number, number]>> = {
  loud: [0.35, 0.9],
  quiet: [0.02, 0.06],
};

/** Amplitude of a background relative to the events. */
const BACKGROUND_SIZES = [0.02, 0.05] as const;

export interface RenderOptions {
  readonly timbre: Timbre;
  readonly spoken: SpokenNumbers;
  readonly random: Random;
}

/** Renders an audio scene of 2.2 to 2.5 seconds at 16 kHz. */
export function renderScene(scene: AudioScene, { timbre, spoken, random }: RenderOptions): Signal {
  const seconds = between(random, ...LENGTH);
  const dry = new Float32Array(samplesOf(seconds));
  let start = samplesOf(between(random, ...START));
  for (const event of scene.events) {
    const most =
      scene.events.length === 1
        ? between(random, 1.1, (dry.length - start) / samplesOf(1) - REST)
        : between(random, ...ONE_OF_TWO);
    const played = playEvent(event, { seconds: most, timbre, random }, spoken);
    addAt(dry, played, start);
    start += played.length + samplesOf(between(random, ...PAUSE));
  }
  const placed = atPeakOne(atDistance(dry, scene.distance, random));
  const mixed = sum(
    placed,
    scaled(background(scene.background, seconds, random), between(random, ...BACKGROUND_SIZES)),
  );
  return scaled(atPeakOne(mixed), betweenRatios(random, ...peaks[scene.loudness]));
}

/** From far away, the reverberation is louder than the direct sound, and high frequencies are damped. */
function atDistance(dry: Signal, distance: Distance, random: Random): Signal {
  if (distance === "near") return dry;
  const muffled = lowPass(dry, between(random, 2500, 4000));
  const wet = atPeakOne(reverberation(muffled, between(random, 0.8, 1.6)));
  return sum(scaled(muffled, between(random, 0.2, 0.4)), wet);
}

function background(kind: Background, seconds: number, random: Random): Signal {
  switch (kind) {
    case "silence":
      return new Float32Array();
    case "hiss":
      return highPass(whiteNoise(seconds, random), 800);
    case "hum": {
      const mains = between(random, 48, 62);
      return partialsOver(seconds, harmonics([0.5, 1, 0.6, 0.5, 0.3, 0.3]), () => mains);
    }
    case "crackle":
      return crackle(seconds, random);
    default:
      return kind satisfies never;
  }
}

const CRACKS_PER_SECOND = 25;

/** Short clicks at random times. */
function crackle(seconds: number, random: Random): Signal {
  const output = new Float32Array(samplesOf(seconds));
  const count = Math.round(seconds * CRACKS_PER_SECOND);
  for (let index = 0; index < count; index++) {
    const place = Math.floor(random() * output.length);
    const size = between(random, 1, 4) * (random() < 0.5 ? -1 : 1);
    for (let i = 0; i < 12 && place + i < output.length; i++) output[place + i] = size * (-0.6) ** i;
  }
  return output;
}
