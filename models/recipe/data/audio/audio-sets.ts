import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { randomStreams } from "../../../../src/core/random.js";
import { SetLines, someQuestions } from "../set-lines.js";
import { type Combinations, randomAudioScene } from "./audio-scene.js";
import { type AudioQuestionType, audioLabels, audioQuestionsOf, captionsOf } from "./describe-audio.js";
import type { Timbre } from "./play-event.js";
import { renderScene } from "./render-scene.js";
import { speakNumbers } from "./speech.js";
import { encodeWav } from "./wav.js";

/** A set of audio files with their labels, captions and questions. */
export interface AudioSetOptions {
  readonly folder: string;
  readonly count: number;
  readonly timbre: Timbre;
  readonly combinations: Combinations;
  readonly seed: number;
  readonly onAudio?: ((done: number) => void) | undefined;
}

/** Question types with two possible answers. */
const rare: ReadonlySet<AudioQuestionType> = new Set([
  "exists",
  "sounds",
  "loudness",
  "distance",
  "which first",
  "direction",
  "speed",
]);

/** Writes the audio files of a set and the files of `SetLines`. The same options give the same set. */
export async function writeAudioSet(options: AudioSetOptions): Promise<void> {
  const { folder, count, seed, timbre, onAudio } = options;
  const spoken = await speakNumbers(timbre);
  mkdirSync(join(folder, "sounds"), { recursive: true });
  const lines = new SetLines("audio");
  for (let index = 0; index < count; index++) {
    const [content = Math.random, random = Math.random] = randomStreams(seed + index, 2);
    const scene = randomAudioScene(content, options.combinations);
    const audio = `sounds/${String(index).padStart(6, "0")}.wav`;
    const path = join(folder, audio);
    if (!existsSync(path)) {
      writeFileSync(`${path}.part`, encodeWav(renderScene(scene, { timbre, spoken, random })));
      renameSync(`${path}.part`, path);
    }
    lines.add(audio, {
      caption: captionsOf(scene),
      questions: someQuestions(audioQuestionsOf(scene, content), content, rare),
      labels: audioLabels(scene),
    });
    onAudio?.(index + 1);
  }
  lines.write(folder);
}
