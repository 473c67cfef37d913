import { EpalmError, unexpected } from "../core/errors.js";
import type { TemplatePart } from "../tokenizer/tokenizer.js";
import type { Manifest, TaskName } from "./manifest.js";
import { normalizeQuestion } from "./normalize-question.js";

/** eP-ALM's token between question and answer; its id is the first one after the vocabulary. */
export const ANSWER_TOKEN = "</a>";

/** As published: 3 beams and at most 30 tokens. */
const publishedGeneration = { beams: 3, maxNewTokens: 30 };

/**
 * The published prompts: a caption follows only the start token, and an answer follows `question?</a>`. If the
 * embedding table has no unused row for `</a>`, a prompt in words replaces it.
 */
export function publishedTasks(hasAnswerToken: boolean): Manifest["tasks"] {
  return {
    caption: { prompt: "", answerPrefix: "", generation: publishedGeneration },
    vqa: {
      prompt: hasAnswerToken ? `{question}?${ANSWER_TOKEN}` : "Question: {question}? Answer:",
      answerPrefix: hasAnswerToken ? "" : " ",
      generation: publishedGeneration,
    },
  };
}

/** In UTF-16 units; questions are single sentences. Longer ones are rejected before they are tokenized. */
export const MAX_QUESTION_LENGTH = 2000;

/**
 * A task's prompt for one request, in parts, so that user input never becomes a special token.
 *
 * @throws invalid_option or too_large, naming `question`
 */
export function promptParts(manifest: Manifest, task: TaskName, question: string | undefined): TemplatePart[] {
  const { prompt, questionNormalization } = manifest.tasks[task];
  // The pieces at odd places are the placeholders.
  return prompt.split(/(\{question\}|\{text\})/).flatMap((piece, at): TemplatePart[] => {
    if (at % 2 === 0) return literalParts(piece);
    if (piece === "{text}") return [{ user: givenQuestion(question) }];
    const bare = bareQuestion(question);
    return [{ user: questionNormalization ? normalizeQuestion(bare, questionNormalization) : bare }];
  });
}

/** The text of a template, and the place of the medium if the text contains `{medium}`. */
function literalParts(text: string): TemplatePart[] {
  const [before = "", ...after] = text.split("{medium}");
  return [{ literal: before }, ...after.flatMap((literal) => [{ medium: true } as const, { literal }])];
}

/** Removes surrounding white space. */
function givenQuestion(question = ""): string {
  if (typeof question !== "string") throw new EpalmError("invalid_option", "question: expected a string");
  const trimmed = question.trim();
  // Checked before the regular expression, whose running time is quadratic in the length.
  if (trimmed.length > MAX_QUESTION_LENGTH) {
    throw unexpected("too_large", "question", `at most ${MAX_QUESTION_LENGTH} characters`, trimmed.length);
  }
  if (trimmed === "") throw new EpalmError("invalid_option", "question: expected a non-empty string, got none");
  return trimmed;
}

/** Removes trailing question marks as well, because the template adds its own. */
function bareQuestion(question: string | undefined): string {
  const bare = givenQuestion(question).replace(/[?\s]+$/, "");
  if (bare === "") throw new EpalmError("invalid_option", "question: expected a non-empty string, got none");
  return bare;
}
