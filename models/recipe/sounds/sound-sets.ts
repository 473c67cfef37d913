import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Random, randomStreams } from "../../../src/generation/random.js";
import { pick } from "../scene.js";
import {
  captionsOf,
  type SoundQuestion,
  type SoundQuestionType,
  soundLabels,
  soundQuestionsOf,
} from "./describe-sound.js";
import type { Timbre } from "./play-event.js";
import { renderScene } from "./render-scene.js";
import { type Combinations, randomSoundScene } from "./sound-scene.js";
import { speakNumbers } from "./speech.js";
import { encodeWav } from "./wav.js";

/** A set of sounds with all that is known of them: for the encoder's labels, captions, questions. */
export interface SoundSetOptions {
  readonly folder: string;
  readonly count: number;
  readonly timbre: Timbre;
  readonly combinations: Combinations;
  readonly seed: number;
  readonly onSound?: ((done: number) => void) | undefined;
}

/** Questions that are written per sound, of those that its scene allows. */
const QUESTIONS_PER_SOUND = 3;

/** Questions that two answers are for are asked so much more seldom: half of them are guessed. */
const SELDOM = 0.4;
const seldom: ReadonlySet<SoundQuestionType> = new Set([
  "exists",
  "sounds",
  "loudness",
  "distance",
  "which first",
  "direction",
  "speed",
]);

/**
 * Makes sounds, and writes beside them `captions.jsonl` and `questions.jsonl` (for `epalm train` and `eval`),
 * `question-types.jsonl`, a line per question, and `labels.jsonl` (`{"audio", "labels": {ASPECT: LABEL}}`). The same
 * options make the same set.
 */
export async function writeSoundSet(options: SoundSetOptions): Promise<void> {
  const { folder, count, seed, timbre, onSound } = options;
  const spoken = await speakNumbers(timbre);
  mkdirSync(join(folder, "sounds"), { recursive: true });
  const lines = {
    captions: [] as string[],
    questions: [] as string[],
    "question-types": [] as string[],
    labels: [] as string[],
  };
  for (let index = 0; index < count; index++) {
    const [content = Math.random, random = Math.random] = randomStreams(seed + index, 2);
    const scene = randomSoundScene(content, options.combinations);
    const audio = `sounds/${String(index).padStart(6, "0")}.wav`;
    const path = join(folder, audio);
    if (!existsSync(path)) {
      writeFileSync(`${path}.part`, encodeWav(renderScene(scene, { timbre, spoken, random })));
      renameSync(`${path}.part`, path);
    }
    lines.captions.push(JSON.stringify({ audio, caption: captionsOf(scene) }));
    for (const { type, question, answer } of someQuestions(soundQuestionsOf(scene, content), content)) {
      lines.questions.push(JSON.stringify({ audio, question, answer }));
      lines["question-types"].push(JSON.stringify({ type }));
    }
    lines.labels.push(JSON.stringify({ audio, labels: soundLabels(scene) }));
    onSound?.(index + 1);
  }
  for (const [name, texts] of Object.entries(lines)) {
    writeFileSync(join(folder, `${name}.jsonl`), `${texts.join("\n")}\n`);
  }
}

function someQuestions(all: readonly SoundQuestion[], random: Random): ReadonlySet<SoundQuestion> {
  const chosen = new Set<SoundQuestion>();
  while (chosen.size < Math.min(QUESTIONS_PER_SOUND, all.length)) {
    const question = pick(random, all);
    if (!seldom.has(question.type) || random() < SELDOM) chosen.add(question);
  }
  return chosen;
}
