import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../../../src/core/random.js";
import type { Modality } from "../../../src/index.js";
import type { LabelledImage } from "../../../src/training/index.js";
import { pick } from "./images/scene.js";

/** Everything that is known about a medium of a set. */
export interface Described {
  /** One caption, or several wordings. */
  readonly caption: string | readonly string[];
  readonly questions: Iterable<{ readonly type: string; readonly question: string; readonly answer: string }>;
  /** Labels for the encoder. */
  readonly labels: LabelledImage["labels"];
  /** Objects and their boxes; images only. */
  readonly regions?: LabelledImage["regions"];
}

/**
 * The files beside the media of a set: `captions.jsonl` and `questions.jsonl` (for `epalm train` and `eval`),
 * `question-types.jsonl`, with one line per question, and `labels.jsonl` (for `epalm fedmae finetune`).
 */
export class SetLines {
  readonly #lines: Readonly<Record<"captions" | "questions" | "question-types" | "labels", string[]>> = {
    captions: [],
    questions: [],
    "question-types": [],
    labels: [],
  };

  constructor(private readonly modality: Modality) {}

  /** @param path path of the medium, relative to the folder of the set */
  add(path: string, { caption, questions, ...labels }: Described): void {
    const medium = { [this.modality]: path };
    const { name: subject } = labels.labels;
    this.#lines.captions.push(JSON.stringify({ ...medium, caption, subject }));
    for (const { type, question, answer } of questions) {
      this.#lines.questions.push(JSON.stringify({ ...medium, question, answer }));
      this.#lines["question-types"].push(JSON.stringify({ type }));
    }
    this.#lines.labels.push(JSON.stringify({ ...medium, ...labels }));
  }

  write(folder: string): void {
    for (const [name, texts] of Object.entries(this.#lines)) {
      writeFileSync(join(folder, `${name}.jsonl`), `${texts.join("\n")}\n`);
    }
  }
}

/** Number of questions per medium, chosen from those that its scene allows. */
const QUESTIONS_PER_MEDIUM = 3;

/** Probability that a question of a rare type is kept when it is drawn. */
const RARE_SHARE = 0.4;

/** @param rare types with two possible answers, of which half are right by chance; they are asked less often */
export function someQuestions<Q extends { readonly type: string }>(
  all: readonly Q[],
  random: Random,
  rare: ReadonlySet<Q["type"]> = new Set(),
): ReadonlySet<Q> {
  const chosen = new Set<Q>();
  while (chosen.size < Math.min(QUESTIONS_PER_MEDIUM, all.length)) {
    const question = pick(random, all);
    if (!rare.has(question.type) || random() < RARE_SHARE) chosen.add(question);
  }
  return chosen;
}
