import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { randomStreams } from "../../../../src/core/random.js";
import { IconRasters } from "../images/icon-looks.js";
import { drawable, type SceneSetOptions } from "../images/scene-sets.js";
import { SetLines, someQuestions } from "../set-lines.js";
import { readDrawableConcepts } from "../text/concepts.js";
import { type ClipCombinations, randomClipScene } from "./clip-scene.js";
import { type ClipQuestionType, captionOfClip, clipLabels, clipQuestionsOf } from "./describe-clip.js";
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

/** Two answers are for them. */
const rare: ReadonlySet<ClipQuestionType> = new Set(["exists", "moves", "pace", "size", "which first"]);

/** How much compression loses, as x264 counts it. */
const LEAST_LOSS = 18;
const MOST_LOSS = 30;

/** Draws clips, and writes beside them what `SetLines` says. The same options make the same set. */
export async function writeClipSet(options: ClipSetOptions): Promise<void> {
  const { folder, count, side, seed, onClip } = options;
  const concepts = await drawable(readDrawableConcepts(), options.styles);
  const rasters = new IconRasters();
  mkdirSync(join(folder, "clips"), { recursive: true });
  const lines = new SetLines("video");
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
    lines.add(video, {
      caption: captionOfClip(scene),
      questions: someQuestions(clipQuestionsOf(scene, concepts, content), content, rare),
      labels: clipLabels(scene),
    });
    onClip?.(index + 1);
  }
  lines.write(folder);
}
