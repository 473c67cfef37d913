import type { Random } from "../../../../src/core/random.js";
import { SAMPLING_RATE } from "../../../../src/preprocessing/sampling-rate.js";
import { pick } from "../images/scene.js";
import type { AudioEvent, Direction, NoiseColor, Pitch, PitchedSource, Speed } from "./audio-scene.js";
import {
  addAt,
  atPeakOne,
  atSpeed,
  between,
  betweenRatios,
  decaying,
  faded,
  harmonics,
  highPass,
  lowPass,
  type Overtone,
  partialsOver,
  type Signal,
  samplesOf,
  scaled,
  signal,
  sum,
  whiteNoise,
} from "./signals.js";
import type { SpokenNumbers } from "./speech.js";

/**
 * How a source sounds: in ways that training hears, or in one that it never hears. The comment of each source describes
 * its held-out timbre.
 */
export type Timbre = "training" | "held-out";

/** How an event is played. */
interface Playing {
  readonly seconds: number;
  readonly timbre: Timbre;
  readonly random: Random;
}

/** Ranges in hertz, with gaps between them so that no pitch is ambiguous. */
const pitchRanges: Readonly<Record<Pitch, readonly [number, number]>> = {
  low: [110, 200],
  middle: [320, 560],
  high: [900, 1600],
};

/** Renders an event with a peak of 1. Beeps and voices have lengths of their own; all other events last `seconds`. */
export function playEvent(event: AudioEvent, playing: Playing, spoken: SpokenNumbers): Signal {
  const { random } = playing;
  switch (event.source) {
    case "drum":
      return atPeakOne(drum(playing));
    case "siren":
      return atPeakOne(siren(playing));
    case "whistle":
      return atPeakOne(whistle(event.direction, playing));
    case "beeps":
      return atPeakOne(beeps(event, playing));
    case "noise":
      return atPeakOne(noise(event.color, playing));
    case "voice":
      return atPeakOne(atSpeed(pick(random, spoken.get(event.word) ?? []), between(random, 0.92, 1.08)));
    default: {
      const frequency = betweenRatios(random, ...pitchRanges[event.pitch]);
      return atPeakOne(instruments[event.source](frequency, playing));
    }
  }
}

const instruments: Readonly<Record<PitchedSource, (frequency: number, playing: Playing) => Signal>> = {
  tone,
  guitar,
  organ,
  flute,
  violin,
  bell,
};

/** A sine wave, sometimes with a weak octave; held out: a triangle wave. */
function tone(frequency: number, { seconds, timbre, random }: Playing): Signal {
  const octave = random() < 0.5 ? 0 : between(random, 0, 0.08);
  const sizes = timbre === "training" ? [1, octave] : [1, 0, 1 / 9, 0, 1 / 25, 0, 1 / 49];
  return faded(
    partialsOver(seconds, harmonics(sizes), () => frequency),
    0.02,
    0.04,
  );
}

/** A plucked string (Karplus and Strong 1983); held out: plucked harder, damped more and with a resonant body. */
function guitar(frequency: number, { seconds, timbre, random }: Playing): Signal {
  const held = timbre === "held-out";
  const period = SAMPLING_RATE / frequency;
  // Weight of the next sample: averaging two samples equally would damp high strings within milliseconds.
  const share = Math.min(0.5, (600 / frequency) ** 3 / 2);
  const length = Math.floor(period + share - 0.1);
  // The fraction of a sample that the delay line lacks for the exact pitch (Jaffe and Smith 1983).
  const missing = period + share - length;
  const tuning = (1 - missing) / (1 + missing);
  const brightness = held ? 7000 : betweenRatios(random, 1500, 4500);
  const loss = 10 ** (-3 / (frequency * (held ? 0.9 : between(random, 1.5, 3.5))));
  const string = lowPass(whiteNoise(length / SAMPLING_RATE, random), brightness);
  const mean = string.reduce((total, value) => total + value, 0) / length;
  let [input, before] = [0, 0];
  const line = string.map((value) => value - mean);
  const plucked = signal(seconds, (_, i) => {
    const place = i % length;
    const value = line[place] as number;
    const next = line[(place + 1) % length] as number;
    const averaged = loss * ((1 - share) * value + share * next);
    const tuned = tuning * averaged + input - tuning * before;
    [input, before] = [averaged, tuned];
    line[place] = tuned;
    return value;
  });
  const body = held
    ? scaled(
        decaying(
          partialsOver(seconds, harmonics([1]), () => 190),
          0.12,
        ),
        0.25,
      )
    : plucked.subarray(0, 0);
  return faded(sum(atPeakOne(plucked), body), 0.001, 0.05);
}

/**
 * Amplitudes of the harmonics of each organ register. The held-out register sounds hollow: its odd harmonics dominate.
 */
const registers = [
  [1, 0.6, 0, 0.4, 0, 0, 0, 0.3],
  [1, 0.8, 0.5, 0.3, 0.2, 0.2],
  [0.7, 1, 0, 0.7, 0, 0.3, 0, 0.5],
  [1, 0.5, 0.7, 0.4, 0, 0.4, 0, 0.3],
];
const HELD_OUT_REGISTER = [1, 0.1, 0.7, 0.1, 0.5, 0, 0.35];

/** Pipes with a tremulant that sound for the whole length; held out: another register. */
function organ(frequency: number, { seconds, timbre, random }: Playing): Signal {
  const register = timbre === "training" ? pick(random, registers) : HELD_OUT_REGISTER;
  const sizes = register.map((size) => size * between(random, 0.8, 1.2));
  const [rate, phase] = [between(random, 5, 7), between(random, 0, 6)];
  const pipes = partialsOver(seconds, harmonics(sizes), () => frequency);
  const tremulant = signal(seconds, (t) => 1 + 0.08 * Math.sin(2 * Math.PI * rate * t + phase));
  return faded(
    pipes.map((value, i) => value * (tremulant[i] as number)),
    0.04,
    0.05,
  );
}

/** Breath noise and a tone with vibrato; held out: overblown, with a strong octave and a faster vibrato. */
function flute(frequency: number, { seconds, timbre, random }: Playing): Signal {
  const held = timbre === "held-out";
  const rate = held ? between(random, 6.8, 7.6) : between(random, 4, 6);
  const depth = between(random, 0.006, 0.014);
  const sizes = held ? [1, 0.75, 0.2, 0.1] : [1, between(random, 0.15, 0.4), between(random, 0.03, 0.12)];
  const pipe = partialsOver(
    seconds,
    harmonics(sizes),
    (t) => frequency * (1 + depth * Math.min(1, 3 * t) * Math.sin(2 * Math.PI * rate * t)),
  );
  const breath = highPass(lowPass(whiteNoise(seconds, random), 3000), 600);
  return faded(sum(pipe, scaled(breath, held ? 0.5 : between(random, 0.15, 0.4))), 0.1, 0.12);
}

/** A bowed string with vibrato and many harmonics, shaped by the resonances of the body; held out: a darker body. */
function violin(frequency: number, { seconds, timbre, random }: Playing): Signal {
  const held = timbre === "held-out";
  const rate = between(random, 5, 6.5);
  const depth = between(random, 0.008, 0.018);
  const resonances = held ? [350, 1100] : [between(random, 450, 600), between(random, 1700, 2600)];
  const fall = held ? 1.35 : between(random, 0.8, 1.1);
  const partials: Overtone[] = Array.from({ length: 16 }, (_, index) => {
    const ratio = index + 1;
    const body = resonances.map((at) => 1.5 * Math.exp(-((Math.log2((ratio * frequency) / at) / 0.4) ** 2)));
    return { ratio, size: ratio ** -fall * body.reduce((total, value) => total + value, 0.5) };
  });
  const string = partialsOver(seconds, partials, (t) => frequency * (1 + depth * Math.sin(2 * Math.PI * rate * t)));
  return faded(string, 0.07, 0.07);
}

/** Partials of a church bell, as multiples of the strike tone: hum, prime, tierce, quint, nominal and above. */
const CHURCH_BELL = [0.5, 1, 1.2, 1.5, 2, 2.67, 3, 4.2, 5.4];
/** Partials of a hanging tube: squares of odd numbers; the strike tone is an octave below the third of them. */
const TUBULAR_BELL = [0.62, 1.21, 2, 2.99, 4.17, 5.56];

/** Inharmonic partials, of which higher ones decay sooner; held out: a tubular bell. */
function bell(frequency: number, { seconds, timbre, random }: Playing): Signal {
  const decay = between(random, 0.5, 1.1);
  const ratios = timbre === "training" ? CHURCH_BELL : TUBULAR_BELL;
  const partials = ratios.map((ratio) => ({
    ratio: ratio * between(random, 0.99, 1.01),
    size: between(random, 0.6, 1.2) / Math.sqrt(ratio),
    decay: decay / Math.sqrt(ratio),
  }));
  return faded(
    partialsOver(seconds, partials, () => frequency),
    0.001,
    0.05,
  );
}

/** A drumhead whose pitch falls, and a short noise; held out: a smaller drum with a longer, brighter noise. */
function drum({ seconds, timbre, random }: Playing): Signal {
  const held = timbre === "held-out";
  const frequency = held ? between(random, 200, 250) : betweenRatios(random, 60, 150);
  const decay = held ? 0.1 : between(random, 0.12, 0.25);
  const skin = partialsOver(
    seconds,
    [1, 1.59, 2.14].map((ratio) => ({ ratio, size: 1 / ratio, decay: decay / ratio })),
    (t) => frequency * (1 + 0.8 * Math.exp(-t / 0.03)),
  );
  const stroke = lowPass(whiteNoise(seconds, random), held ? 6000 : between(random, 1500, 4000));
  return sum(skin, scaled(decaying(stroke, held ? 0.09 : between(random, 0.02, 0.05)), held ? 1 : 0.7));
}

/**
 * Glides between two pitches that are one to two octaves apart, evenly on a logarithmic scale; held out: evenly in
 * hertz and with vibrato.
 */
function whistle(direction: Direction, { seconds, timbre, random }: Playing): Signal {
  const low = betweenRatios(random, 250, 700);
  const high = low * 2 ** between(random, 1, 2);
  const partials = harmonics([1, between(random, 0, 0.25)]);
  const risen = (t: number) => (direction === "rising" ? t / seconds : 1 - t / seconds);
  const frequencyAt =
    timbre === "training"
      ? (t: number) => low * (high / low) ** risen(t)
      : (t: number) => (low + (high - low) * risen(t)) * (1 + 0.015 * Math.sin(2 * Math.PI * 9 * t));
  return faded(partialsOver(seconds, partials, frequencyAt), 0.03, 0.03);
}

/** Seconds between the starts of two beeps. */
const beepPeriods: Readonly<Record<Speed, readonly [number, number]>> = {
  slow: [0.34, 0.4],
  fast: [0.13, 0.17],
};

/** Sine or square waves; held out: two tones at once, as in telephones. */
function beeps(event: AudioEvent & { source: "beeps" }, { timbre, random }: Playing): Signal {
  const period = between(random, ...beepPeriods[event.speed]);
  const frequency = betweenRatios(random, 500, 1500);
  const square = [1, 0, 1 / 3, 0, 1 / 5];
  const partials: readonly Overtone[] =
    timbre === "training"
      ? harmonics(random() < 0.5 ? [1] : square)
      : [
          { ratio: 1, size: 1 },
          { ratio: 1.73, size: 1 },
        ];
  const sounding = period * between(random, 0.45, 0.6);
  const beep = faded(
    partialsOver(sounding, partials, () => frequency),
    0.005,
    0.005,
  );
  const all = new Float32Array(samplesOf((event.count - 1) * period + sounding));
  for (let index = 0; index < event.count; index++) addAt(all, beep, samplesOf(index * period));
  return all;
}

/** Noise whose power falls by 0, 3 or 6 dB per octave; held out: in gusts. */
function noise(color: NoiseColor, { seconds, timbre, random }: Playing): Signal {
  const white = whiteNoise(seconds, random);
  const colored = color === "white" ? white : color === "pink" ? pinkNoise(white) : brownNoise(white);
  if (timbre === "training") return faded(colored, between(random, 0.01, 0.1), 0.05);
  const rate = between(random, 2, 4);
  return faded(
    colored.map((value, i) => value * (0.65 + 0.35 * Math.sin((2 * Math.PI * rate * i) / SAMPLING_RATE))),
    0.05,
    0.05,
  );
}

/**
 * White noise filtered by three one-pole low-passes that together fall by 3 dB per octave (P. Kellet's economy filter).
 */
function pinkNoise(white: Signal): Signal {
  let [a, b, c] = [0, 0, 0];
  return white.map((value) => {
    a = 0.99765 * a + value * 0.099046;
    b = 0.963 * b + value * 0.2965164;
    c = 0.57 * c + value * 1.0526913;
    return a + b + c + value * 0.1848;
  });
}

/** Integrated white noise without the frequencies below 30 hertz. */
function brownNoise(white: Signal): Signal {
  return highPass(lowPass(white, 20), 30);
}

/** A pitch that rises and falls repeatedly, along a sine or a sawtooth; held out: along a triangle. */
function siren({ seconds, timbre, random }: Playing): Signal {
  const rate = between(random, 1.6, 3);
  const middle = betweenRatios(random, 600, 1000);
  const depth = between(random, 0.3, 0.5);
  const phase = random();
  const isSaw = random() < 0.4;
  const swing = (t: number) => {
    const turn = (rate * t + phase) % 1;
    if (timbre === "held-out") return 1 - 4 * Math.abs(turn - 0.5);
    return isSaw ? 2 * turn - 1 : Math.sin(2 * Math.PI * turn);
  };
  const sizes = [1, between(random, 0.2, 0.5), between(random, 0.1, 0.4), between(random, 0, 0.2)];
  return faded(
    partialsOver(seconds, harmonics(sizes), (t) => middle * (1 + depth * swing(t))),
    0.03,
    0.05,
  );
}
