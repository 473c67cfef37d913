import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EpalmError, load, type Model } from "../../src/index.js";
import { SAMPLE_NOTES, type SampleNote } from "../../src/model/sample-notes.js";
import { normalizeAnswer } from "../../src/training/metrics/normalize-answer.js";
import { type Candidate, type Slot, sampleSlots } from "./data/samples.js";
import { exampleQuestions } from "./describe-model.js";

/** Candidates that are tried for each sample, which takes at most two minutes. */
const MAX_CANDIDATES = 400;

/** The slot whose sample the model gets wrong. */
const WRONG_SLOT = 1;

/** The model card in this folder has this line where the table of samples belongs. */
const CARD_LINE = "<!-- samples -->";

/** What a candidate shows and what the model says about it. */
interface Tested {
  readonly candidate: Candidate;
  readonly bytes: Uint8Array;
  readonly caption: string;
  /** The example questions that fit the candidate, with the answers of the model and the correct ones. */
  readonly answers: readonly { readonly question: string; readonly answer: string; readonly expected: string }[];
  readonly isCorrect: boolean;
}

/**
 * Chooses the samples of a model folder and writes them to its folder `samples/`, together with what they show. All but
 * one are the first candidates whose caption, and whose answers to all example questions that fit them, are correct.
 * The remaining one has a wrong caption and is labelled as such.
 *
 * @returns the table of the samples for the model card
 */
export async function chooseSamples(folder: string, say: (what: string) => void): Promise<string> {
  const model = await load(folder, { threads: 1 });
  try {
    const slots = await sampleSlots(model.modalities);
    const chosen: Tested[] = [];
    for (const [index, slot] of slots.entries()) {
      const tested = await firstSuch(model, slot, index !== WRONG_SLOT, (tested) =>
        chosen.every(({ candidate }) => candidate.name !== tested.name),
      );
      say(`${tested.candidate.name}: ${tested.caption}`);
      chosen.push(tested);
    }
    writeSamples(join(folder, "samples"), chosen);
    return sampleTable(chosen);
  } finally {
    await model.close();
  }
}

async function firstSuch(
  model: Model,
  slot: Slot,
  isCorrect: boolean,
  isNew: (candidate: Candidate) => boolean,
): Promise<Tested> {
  for (let index = 0; index < MAX_CANDIDATES; index++) {
    const candidate = slot(index);
    if (!isNew(candidate)) continue;
    const tested = await testCandidate(model, candidate);
    if (tested.isCorrect === isCorrect) return tested;
  }
  throw new EpalmError(
    "internal",
    `samples: expected one with a ${isCorrect ? "correct" : "wrong"} caption among ${MAX_CANDIDATES}`,
  );
}

async function testCandidate(model: Model, candidate: Candidate): Promise<Tested> {
  const bytes = await candidate.bytes();
  const encoded = await model.encode(bytes, { modality: candidate.modality });
  const caption = (await encoded.caption()).text.trim();
  const isRight = candidate.captions.includes(caption);
  if (!isRight) return { candidate, bytes, caption, answers: [], isCorrect: false };
  const answers: Tested["answers"][number][] = [];
  for (const question of exampleQuestions[candidate.modality]) {
    const known = candidate.questions.find((one) => one.question === plain(question));
    if (!known) continue;
    const { text } = await encoded.vqa(question);
    answers.push({ question, answer: text.trim(), expected: known.answer });
  }
  const isCorrect = answers.every(({ answer, expected }) => normalizeAnswer(answer) === normalizeAnswer(expected));
  return { candidate, bytes, caption, answers, isCorrect };
}

/** The question as the recipe writes it. */
function plain(question: string): string {
  return question.toLowerCase().replace("?", "");
}

function writeSamples(folder: string, chosen: readonly Tested[]): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const { candidate, bytes } of chosen) writeFileSync(join(folder, candidate.name), bytes);
  const notes = Object.fromEntries(
    chosen.map(({ candidate, isCorrect }): [string, SampleNote] => [
      candidate.name,
      { expected: candidate.captions[0] ?? "", isCorrect },
    ]),
  );
  writeFileSync(join(folder, SAMPLE_NOTES), `${JSON.stringify(notes, undefined, 2)}\n`);
}

function sampleTable(chosen: readonly Tested[]): string {
  const rows = chosen.map(({ candidate, caption, answers, isCorrect }) => [
    candidate.name,
    caption,
    isCorrect ? "correct" : `wrong: it shows ${candidate.captions[0]}`,
    answers.map(({ question, answer }) => `${question} ${answer}`).join("; "),
  ]);
  const head = ["sample", "caption of the model", "", "example questions and answers of the model"];
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** The model card with the table of samples. */
export function modelCard(table: string): string {
  return readFileSync(new URL("../../../models/recipe/CARD.md", import.meta.url), "utf8").replace(CARD_LINE, table);
}
