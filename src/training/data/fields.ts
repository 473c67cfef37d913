import { z } from "zod";
import { MAX_QUESTION_LENGTH } from "../../model/tasks.js";

/** In UTF-16 code units. A caption that fills the few thousand positions of a decoder is shorter. */
const MAX_TEXT_LENGTH = 20_000;

/** Maximum number of captions of a medium or answers to a question; public data sets have 5 to 20. */
export const MAX_TEXTS = 1000;

/** In UTF-16 code units; the longest path that Linux accepts. */
const MAX_PATH_LENGTH = 4096;

const trimmed = z.string().max(MAX_TEXT_LENGTH).trim();

// An unpaired surrogate is not a character, and no tokenizer preserves it.
const isCharacters = (text: string) => !/\p{Surrogate}/u.test(text);
const CHARACTERS = "expected characters, got an unpaired surrogate";

/** A caption or question, trimmed. */
export const textField = trimmed
  .min(1, "expected a non-empty string, got an empty one")
  .refine(isCharacters, CHARACTERS);

/** A human answer, trimmed. The official files of VQA v2 contain blank ones. */
export const answerField = trimmed.refine(isCharacters, CHARACTERS);

export const questionField = textField
  .max(MAX_QUESTION_LENGTH)
  .refine((text) => /[^?\s]/.test(text), "expected a question, got only question marks");

export const pathField = z.string().min(1).max(MAX_PATH_LENGTH);
