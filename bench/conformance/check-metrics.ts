import { readFileSync } from "node:fs";
import { z } from "zod";
import { EpalmError } from "../../src/core/errors.js";
import { tokenScores } from "../../src/training/metrics/caption-scores.js";
import { normalizeAnswer } from "../../src/training/metrics/normalize-answer.js";
import { vqaAccuracy } from "../../src/training/metrics/vqa-accuracy.js";
import type { Check } from "./compare.js";

/** Largest absolute difference of a score. */
const TOLERANCE = 1e-6;

const numbers = z.array(z.number());

/** Captions of images as tokens separated by spaces; lists of scores are in the order of the images. */
const captionMetricsSchema = z.object({
  references: z.record(z.string(), z.array(z.string()).min(1)),
  candidates: z.record(z.string(), z.string()),
  CIDEr: z.number(),
  CIDEr_each: numbers,
  BLEU: numbers.length(4),
  BLEU_each: z.array(numbers).length(4),
  ROUGE_L: z.number(),
  ROUGE_L_each: numbers,
});

const vqaAnswersSchema = z.object({
  normalised: z.array(z.tuple([z.string(), z.string()])),
  accuracy: z.array(z.object({ answers: z.array(z.string()).min(1), prediction: z.string(), accuracy: z.number() })),
});

/** Checks `caption-metrics.json`, whose CIDEr is that of the COCO evaluation, CIDEr-D. */
export function checkCaptionMetrics(path: string): Check[] {
  const golden = captionMetricsSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  const { overall, perImage } = tokenScores(
    Object.entries(golden.references).map(([name, references]) => {
      const candidate = golden.candidates[name];
      if (candidate === undefined) throw new EpalmError("not_found", `${path}: candidates has no ${name}`);
      return { candidate: tokensOf(candidate), references: references.map(tokensOf) };
    }),
  );
  const checks = [
    within("CIDEr-D", [overall.ciderD], [golden.CIDEr]),
    within(
      "CIDEr-D per image",
      perImage.map(({ ciderD }) => ciderD),
      golden.CIDEr_each,
    ),
    within("ROUGE-L", [overall.rougeL], [golden.ROUGE_L]),
    within(
      "ROUGE-L per image",
      perImage.map(({ rougeL }) => rougeL),
      golden.ROUGE_L_each,
    ),
    within("BLEU-1 to BLEU-4", overall.bleu, golden.BLEU),
  ];
  for (const [index, expected] of golden.BLEU_each.entries()) {
    const found = perImage.map(({ bleu }) => bleu[index] ?? Number.NaN);
    checks.push(within(`BLEU-${index + 1} per image`, found, expected));
  }
  return checks;
}

/** Checks `vqa-answers.json`: normalised answers and the accuracy of predictions. */
export function checkVqaAnswers(path: string): Check[] {
  const golden = vqaAnswersSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  return [
    identical(
      "normalised answers",
      golden.normalised.map(([raw, expected]) => ({ given: raw, found: normalizeAnswer(raw), expected })),
    ),
    identical(
      "VQA accuracy",
      golden.accuracy.map(({ answers, prediction, accuracy }) => ({
        given: prediction,
        found: vqaAccuracy(prediction, answers),
        expected: accuracy,
      })),
    ),
  ];
}

function tokensOf(text: string): string[] {
  return text.split(" ").filter((token) => token !== "");
}

function within(what: string, found: readonly number[], expected: readonly number[]): Check {
  if (found.length !== expected.length) {
    return { what, passed: false, found: `${found.length} scores, expected ${expected.length}` };
  }
  const differences = found.map((value, index) => Math.abs(value - (expected[index] ?? Number.NaN)));
  const difference = Math.max(0, ...differences);
  return { what, passed: difference <= TOLERANCE, found: difference.toExponential(1) };
}

interface Compared {
  readonly given: string;
  readonly found: string | number;
  readonly expected: string | number;
}

function identical(what: string, sequences: readonly Compared[]): Check {
  const wrong = sequences.find(({ found, expected }) => found !== expected);
  if (!wrong) return { what, passed: true, found: "identical" };
  const [given, found, expected] = [wrong.given, wrong.found, wrong.expected].map((value) => JSON.stringify(value));
  return { what, passed: false, found: `${given}: ${found}, expected ${expected}` };
}
