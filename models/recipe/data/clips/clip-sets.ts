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

/** A set of clips with their labels, captions and questions. */
export interface ClipSetOptions {
  readonly folder: string;
  readonly count: number;
  /** Side of a frame in pixels. */
  readonly side: number;
  readonly styles: SceneSetOptions["styles"];
  readonly combinations: ClipCombinations;
  readonly seed: number;
  readonly onClip?: ((done: number) => void) | undefined;
}

/** Question types with two possible answers. */
const rare: ReadonlySet<ClipQuestionType> = new Set(["exists", "moves", "pace", "size", "which first"]);

/** Range of the constant rate factor (CRF) of x264. */
const LEAST_LOSS = 18;
const MOST_LOSS = 30;

/** Writes the clips of a set and the files of `SetLines`. The same options give the same set. */
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
