import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../../../src/core/random.js";
import type { Modality } from "../../../src/index.js";
import type { LabelledImage } from "../../../src/training/index.js";
import { pick } from "./images/scene.js";

/** All that is known of a medium of a set. */
export interface Described {
  /** One, or several in other words each. */
  readonly caption: string | readonly string[];
  readonly questions: Iterable<{ readonly type: string; readonly question: string; readonly answer: string }>;
  /** For the encoder. */
  readonly labels: LabelledImage["labels"];
  /** Of pictures: what is where. */
  readonly regions?: LabelledImage["regions"];
}

/**
 * What stands beside the media of a set: `captions.jsonl` and `questions.jsonl` (for `epalm train` and `eval`),
 * `question-types.jsonl`, a line per question, and `labels.jsonl` (for `epalm fedmae finetune`).
 */
export class SetLines {
  readonly #lines: Readonly<Record<"captions" | "questions" | "question-types" | "labels", string[]>> = {
    captions: [],
    questions: [],
    "question-types": [],
    labels: [],
  };

  constructor(private readonly modality: Modality) {}

  /** @param path of the medium, from the set's folder */
  add(path: string, { caption, questions, ...labels }: Described): void {
    const medium = { [this.modality]: path };
    this.#lines.captions.push(JSON.stringify({ ...medium, caption }));
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

/** Questions that are written per medium, of those that its scene allows. */
const QUESTIONS_PER_MEDIUM = 3;

/** How often a question of a rare type is asked where another would be. */
const RARE_SHARE = 0.4;

/** @param rare types that have two answers: half of them are guessed */
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
