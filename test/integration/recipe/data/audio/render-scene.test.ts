import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import {
  type AudioEvent,
  type AudioScene,
  type PitchedSource,
  pitchedSources,
} from "../../../../../models/recipe/data/audio/audio-scene.js";
import type { Timbre } from "../../../../../models/recipe/data/audio/play-event.js";
import { renderScene } from "../../../../../models/recipe/data/audio/render-scene.js";
import { atSpeed, type Signal } from "../../../../../models/recipe/data/audio/signals.js";
import { type SpokenNumbers, speakNumbers } from "../../../../../models/recipe/data/audio/speech.js";
import { decodeWav, encodeWav } from "../../../../../models/recipe/data/audio/wav.js";
import { randomStreams } from "../../../../../src/core/random.js";

const RATE = 16_000;
const timbres: readonly Timbre[] = ["training", "held-out"];
let spoken: Readonly<Record<Timbre, SpokenNumbers>>;
before(async () => {
  spoken = { training: await speakNumbers("training"), "held-out": await speakNumbers("held-out") };
});

function render(
  events: readonly AudioEvent[],
  seed: number,
  timbre: Timbre = "training",
  scene: Partial<AudioScene> = {},
) {
  const [random = Math.random] = randomStreams(seed, 1);
  const whole: AudioScene = { events, loudness: "loud", distance: "near", background: "silence", ...scene };
  return renderScene(whole, { timbre, random, spoken: spoken[timbre] });
}

const sizeOf = (samples: Signal) => Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);

/** Oversampling factor: lags in whole samples would be too coarse for high pitches. */
const FINER = 4;

/**
 * The pitch in hertz, from the lag with the highest autocorrelation over a tenth of a second: the shortest of the lags
 * that are almost as good.
 */
function pitchOf(samples: Signal, from: number): number {
  const fine = atSpeed(samples.subarray(from * RATE, (from + 0.15) * RATE), 1 / FINER);
  const length = 0.1 * RATE * FINER;
  const product = (lag: number, other: number) => {
    let total = 0;
    for (let i = 0; i < length; i++) total += (fine[i + lag] as number) * (fine[i + other] as number);
    return total;
  };
  const lags = Array.from({ length: 600 }, (_, index) => index + 30);
  const found = lags.map((lag) => product(0, lag) / Math.sqrt(product(lag, lag)));
  const best = Math.max(...found);
  let at = found.findIndex(
    (value, index) => value > 0.85 * best && value > (found[index - 1] ?? Number.POSITIVE_INFINITY),
  );
  while ((found[at + 1] ?? -1) > (found[at] as number)) at++;
  return (RATE * FINER) / (lags[at] ?? 0);
}

/** Number of zero crossings. */
const crossings = (samples: Signal) => samples.filter((value, i) => value * (samples[i - 1] ?? 0) < 0).length;

/** Number of onsets after at least 20 ms of silence. */
function beginnings(samples: Signal): number {
  let [count, silent] = [0, RATE];
  for (const value of samples) {
    if (Math.abs(value) > 0.02) {
      if (silent > 0.02 * RATE) count++;
      silent = 0;
    } else silent++;
  }
  return count;
}

describe("the pitch of a tone", () => {
  const ranges = { low: [105, 210], middle: [300, 590], high: [850, 1800] } as const;
  for (const source of ["tone", "guitar", "organ", "flute", "violin"] satisfies PitchedSource[]) {
    for (const [pitch, [lowest, highest]] of Object.entries(ranges)) {
      it(`of a ${source} is within the range of '${pitch}'`, () => {
        for (let seed = 0; seed < 4; seed++) {
          const event = { source, pitch: pitch as keyof typeof ranges };
          const measured = pitchOf(render([event], seed), 0.3);
          assert.ok(measured > lowest && measured < highest, `seed ${seed}: ${measured} Hz`);
        }
      });
    }
  }

  for (const timbre of timbres) {
    it(`rises or falls with a whistle in the ${timbre} timbre`, () => {
      for (let seed = 0; seed < 4; seed++) {
        for (const direction of ["rising", "falling"] as const) {
          const samples = render([{ source: "whistle", direction }], seed, timbre);
          const at = (seconds: number) => crossings(samples.subarray(seconds * RATE, (seconds + 0.1) * RATE));
          const [early, late] = [at(0.35), at(0.9)];
          assert.equal(late > early, direction === "rising", `seed ${seed}: ${early}, ${late} crossings`);
        }
      }
    });
  }
});

describe("beeps", () => {
  for (const timbre of timbres) {
    it(`have the requested number in the ${timbre} timbre`, () => {
      for (const speed of ["slow", "fast"] as const) {
        for (let count = 1; count <= 5; count++) {
          assert.equal(beginnings(render([{ source: "beeps", count, speed }], count, timbre)), count);
        }
      }
    });
  }
});

describe("a scene", () => {
  it("is louder with loudness 'loud', and is never clipped", () => {
    for (const source of pitchedSources) {
      const [loud, quiet] = (["loud", "quiet"] as const).map((loudness) =>
        render([{ source, pitch: "middle" }], 3, "training", { loudness }),
      ) as [Signal, Signal];
      assert.ok(sizeOf(loud) > 4 * sizeOf(quiet), source);
      assert.ok(loud.every((value) => Math.abs(value) <= 1));
    }
  });

  it("reverberates after a drum that is far away", () => {
    const tail = (distance: "near" | "far") => {
      const samples = render([{ source: "drum" }], 7, "training", { distance });
      return sizeOf(samples.subarray(RATE, 1.2 * RATE)) / sizeOf(samples);
    };
    assert.ok(tail("far") > 3 * tail("near"));
  });

  it("contains its events in their order", () => {
    const noise = { source: "noise", color: "white" } as const;
    const tone = { source: "tone", pitch: "low" } as const;
    for (const [events, noiseFirst] of [
      [[noise, tone], true],
      [[tone, noise], false],
    ] as const) {
      const samples = render(events, 2);
      const middle = samples.length / 2;
      assert.equal(crossings(samples.subarray(0, middle)) > 4 * crossings(samples.subarray(middle)), noiseFirst);
    }
  });

  it("has spoken numbers of plausible length for all ten numbers", () => {
    for (const timbre of timbres) {
      const lengths = Array.from(spoken[timbre].values(), (ways) => ways.map(({ length }) => length / RATE));
      assert.equal(lengths.length, 10);
      assert.ok(
        lengths.flat().every((seconds) => seconds > 0.1 && seconds < 1),
        String(lengths.flat()),
      );
    }
  });
});

describe("a WAV file", () => {
  it("stores samples with a precision of 16 bits", () => {
    const samples = render([{ source: "siren" }], 1);
    const back = decodeWav(encodeWav(samples));
    assert.equal(back.length, samples.length);
    assert.ok(samples.every((value, i) => Math.abs(value - (back[i] as number)) < 2 / 32_768));
  });
});
