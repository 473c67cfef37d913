import type { Random } from "../../../../src/core/random.js";
import { SAMPLING_RATE } from "../../../../src/preprocessing/sampling-rate.js";

/** Samples at 16 kHz. In this file, times are in seconds and frequencies in hertz. */
export type Signal = Float32Array;

export const samplesOf = (seconds: number) => Math.round(seconds * SAMPLING_RATE);

export const between = (random: Random, low: number, high: number) => low + (high - low) * random();

/** Uniform in the logarithm; used for frequencies and decay times. */
export const betweenRatios = (random: Random, low: number, high: number) => low * (high / low) ** random();

export function signal(seconds: number, at: (seconds: number, sample: number) => number): Signal {
  return Float32Array.from({ length: samplesOf(seconds) }, (_, i) => at(i / SAMPLING_RATE, i));
}

/** A sine wave that is part of a tone. */
export interface Overtone {
  /** Frequency as a multiple of the tone's frequency. */
  readonly ratio: number;
  /** Initial amplitude. */
  readonly size: number;
  /** Seconds until the amplitude has fallen to 1/e. Default: no decay. */
  readonly decay?: number | undefined;
}

/** Higher frequencies, in hertz, are left out because they would alias. */
const HIGHEST = 0.47 * SAMPLING_RATE;

/** The sum of sine waves whose frequencies are multiples of one varying frequency. */
export function partialsOver(
  seconds: number,
  partials: readonly Overtone[],
  frequencyAt: (seconds: number) => number,
): Signal {
  const output = new Float32Array(samplesOf(seconds));
  let phase = 0;
  for (let i = 0; i < output.length; i++) {
    const t = i / SAMPLING_RATE;
    const frequency = frequencyAt(t);
    phase += (2 * Math.PI * frequency) / SAMPLING_RATE;
    let sum = 0;
    for (const { ratio, size, decay } of partials) {
      if (ratio * frequency > HIGHEST) continue;
      sum += size * Math.sin(ratio * phase) * (decay === undefined ? 1 : Math.exp(-t / decay));
    }
    output[i] = sum;
  }
  return output;
}

export function harmonics(sizes: readonly number[]): Overtone[] {
  return sizes.map((size, index) => ({ ratio: index + 1, size }));
}

export function whiteNoise(seconds: number, random: Random): Signal {
  return signal(seconds, () => 2 * random() - 1);
}

/** First-order low-pass. */
export function lowPass(input: Signal, cutoff: number): Signal {
  const share = 1 - Math.exp((-2 * Math.PI * cutoff) / SAMPLING_RATE);
  let last = 0;
  return input.map((value) => {
    last += share * (value - last);
    return last;
  });
}

export function highPass(input: Signal, cutoff: number): Signal {
  const low = lowPass(input, cutoff);
  return input.map((value, i) => value - (low[i] as number));
}

/** Fades in and out linearly. */
export function faded(input: Signal, attack: number, release: number): Signal {
  const [up, down] = [Math.max(1, samplesOf(attack)), Math.max(1, samplesOf(release))];
  return input.map((value, i) => value * Math.min(1, i / up, (input.length - 1 - i) / down));
}

export function decaying(input: Signal, seconds: number): Signal {
  return input.map((value, i) => value * Math.exp(-i / SAMPLING_RATE / seconds));
}

export function scaled(input: Signal, factor: number): Signal {
  return input.map((value) => value * factor);
}

/** Adds `part` to `target` in place from sample `start` on, and drops what does not fit. */
export function addAt(target: Signal, part: Signal, start = 0): void {
  const length = Math.min(part.length, target.length - start);
  for (let i = 0; i < length; i++) target[start + i] = (target[start + i] as number) + (part[i] as number);
}

export function sum(...parts: readonly Signal[]): Signal {
  const output = new Float32Array(Math.max(...parts.map(({ length }) => length)));
  for (const part of parts) addAt(output, part);
  return output;
}

/** Scales a signal to a peak of 1. */
export function atPeakOne(input: Signal): Signal {
  const peak = input.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  return peak > 0 ? scaled(input, 1 / peak) : input;
}

/** Plays a signal faster or slower, which also changes its pitch, by linear interpolation. */
export function atSpeed(input: Signal, speed: number): Signal {
  return Float32Array.from({ length: Math.floor((input.length - 1) / speed) }, (_, i) => {
    const [place, share] = [Math.floor(i * speed), (i * speed) % 1];
    return (input[place] as number) * (1 - share) + (input[place + 1] ?? 0) * share;
  });
}

/** Delays of the echoes of a room in samples; those of the combs have no common factor (Schroeder 1962). */
const COMBS = [477, 521, 587, 647];
const ALL_PASSES = [81, 29];

/**
 * The reverberation of a room (Schroeder 1962): four parallel comb filters, followed by two all-pass filters.
 *
 * @param seconds time in which an echo decays by 60 dB
 */
export function reverberation(input: Signal, seconds: number): Signal {
  const combs = COMBS.map((delay) => comb(input, delay, 10 ** ((-3 * delay) / SAMPLING_RATE / seconds)));
  return ALL_PASSES.reduce((wet, delay) => allPass(wet, delay, 0.7), sum(...combs));
}

function comb(input: Signal, delay: number, gain: number): Signal {
  const output = input.slice();
  for (let i = delay; i < output.length; i++) {
    output[i] = (output[i] as number) + gain * (output[i - delay] as number);
  }
  return output;
}

function allPass(input: Signal, delay: number, gain: number): Signal {
  const output = new Float32Array(input.length);
  for (let i = 0; i < input.length; i++) {
    const [before, echo] = i < delay ? [0, 0] : [input[i - delay] as number, output[i - delay] as number];
    output[i] = -gain * (input[i] as number) + before + gain * echo;
  }
  return output;
}
