import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Random, randomStreams } from "../../../src/generation/random.js";
import { readPicturedConcepts } from "../concepts.js";
import { IconRasters } from "../icon-looks.js";
import { pick } from "../scene.js";
import { drawable, type SceneSetOptions } from "../scene-sets.js";
import { type ClipCombinations, randomClipScene } from "./clip-scene.js";
import {
  type ClipQuestion,
  type ClipQuestionType,
  captionOfClip,
  clipLabels,
  clipQuestionsOf,
} from "./describe-clip.js";
import { drawClip, FRAMES_PER_SECOND } from "./draw-clip.js";
import { writeVideo } from "./write-video.js";

/** A set of clips with all that is known of them: for the encoder's labels, captions, questions. */
export interface ClipSetOptions {
  readonly folder: string;
  readonly count: number;
  /** Pixels. */
  readonly side: number;
  readonly styles: SceneSetOptions["styles"];
  readonly combinations: ClipCombinations;
  readonly seed: number;
  readonly onClip?: ((done: number) => void) | undefined;
}

/** Questions that are written per clip, of those that its scene allows. */
const QUESTIONS_PER_CLIP = 3;

/** Questions that two answers are for are asked so much more seldom: half of them are guessed. */
const SELDOM = 0.4;
const seldom: ReadonlySet<ClipQuestionType> = new Set(["exists", "moves", "pace", "size", "which first"]);

/** How much compression loses, as x264 counts it. */
const LEAST_LOSS = 18;
const MOST_LOSS = 30;

/**
 * Draws clips, and writes beside them `captions.jsonl` and `questions.jsonl` (for `epalm train` and `eval`),
 * `question-types.jsonl`, a line per question, and `labels.jsonl` (`{"video", "labels": {ASPECT: LABEL}}`). The same
 * options make the same set.
 */
export async function writeClipSet(options: ClipSetOptions): Promise<void> {
  const { folder, count, side, seed, onClip } = options;
  const concepts = await drawable(readPicturedConcepts(), options.styles);
  const rasters = new IconRasters();
  mkdirSync(join(folder, "clips"), { recursive: true });
  const lines = {
    captions: [] as string[],
    questions: [] as string[],
    "question-types": [] as string[],
    labels: [] as string[],
  };
  for (let index = 0; index < count; index++) {
    const [content = Math.random, drawing = Math.random] = randomStreams(seed + index, 2);
    const scene = randomClipScene(content, concepts, options.combinations);
    const video = `clips/${String(index).padStart(6, "0")}.mp4`;
    const path = join(folder, video);
    if (!existsSync(path)) {
      const frames = await drawClip(scene, { rasters, side, random: drawing });
      const loss = LEAST_LOSS + (MOST_LOSS - LEAST_LOSS) * drawing();
      await writeVideo(path, frames, { framesPerSecond: FRAMES_PER_SECOND, loss });
    }
    lines.captions.push(JSON.stringify({ video, caption: captionOfClip(scene) }));
    for (const { type, question, answer } of someQuestions(
      clipQuestionsOf(scene, concepts, content),
      content,
    )) {
      lines.questions.push(JSON.stringify({ video, question, answer }));
      lines["question-types"].push(JSON.stringify({ type }));
    }
    lines.labels.push(JSON.stringify({ video, labels: clipLabels(scene) }));
    onClip?.(index + 1);
  }
  for (const [name, texts] of Object.entries(lines)) {
    writeFileSync(join(folder, `${name}.jsonl`), `${texts.join("\n")}\n`);
  }
}

function someQuestions(all: readonly ClipQuestion[], random: Random): ReadonlySet<ClipQuestion> {
  const chosen = new Set<ClipQuestion>();
  while (chosen.size < Math.min(QUESTIONS_PER_CLIP, all.length)) {
    const question = pick(random, all);
    if (!seldom.has(question.type) || random() < SELDOM) chosen.add(question);
  }
  return chosen;
}
