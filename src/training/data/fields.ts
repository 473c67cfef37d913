import { z } from "zod";
import { MAX_QUESTION_LENGTH } from "../../model/tasks.js";

/** In UTF-16 units: a caption that fills the few thousand positions of a decoder is shorter. */
const MAX_TEXT_LENGTH = 20_000;

/** Captions of one medium, or answers to one question: public sets have 5 to 20. */
export const MAX_TEXTS = 1000;

/** In UTF-16 units; Linux takes no longer path. */
const MAX_PATH_LENGTH = 4096;

/** What people wrote, without the white space around it. */
export const textField = z
  .string()
  .max(MAX_TEXT_LENGTH)
  .trim()
  .min(1, "expected a text, got none")
  // Half of a pair is no character, and no tokenizer keeps it.
  .refine((text) => !/\p{Surrogate}/u.test(text), "expected characters, got half of a surrogate pair");

export const questionField = textField
  .max(MAX_QUESTION_LENGTH)
  .refine((text) => /[^?\s]/.test(text), "expected a question, got question marks");

export const pathField = z.string().min(1).max(MAX_PATH_LENGTH);
