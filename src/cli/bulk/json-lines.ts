import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import { modalities } from "../../core/modality.js";
import type { RecordFormat } from "./record-file.js";
import { answerObject } from "./run-output.js";

/** The keys of a line that identify its request. All other keys belong to the answer. */
const answerLine = z.looseObject({
  file: z.string(),
  modality: z.enum(modalities).optional(),
  question: z.string().optional(),
  model: z.string().optional(),
  error: z.looseObject({ message: z.string() }).optional().describe("in place of an answer"),
});

/** The characters with which each line begins. */
const BEGINNING = '{"file":"';

/** One JSON object per line. */
export const jsonLines: RecordFormat = {
  isWhole: () => true,
  isComplete: (text) => parsed(text) !== undefined,
  isBeginning: (text) => BEGINNING.startsWith(text.slice(0, BEGINNING.length)),
  parse(text, where) {
    const answer = answerLine.safeParse(parsed(text));
    if (!answer.success) {
      throw new EpalmError("invalid_option", `${where}: expected an answer as a JSON object with 'file'`);
    }
    const { file, modality, question, model, error } = answer.data;
    return { file, modality, question, model, isFailed: error !== undefined };
  },
  format: (medium, results) => results.map((result) => `${JSON.stringify(answerObject(medium, result))}\n`).join(""),
};

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
