import { EpalmError, unexpected } from "../core/errors.js";
import type { TemplatePart } from "../tokenizer/tokenizer.js";
import type { Manifest, TaskName } from "./manifest.js";

/** eP-ALM's token between question and answer: the first id after the vocabulary. */
export const ANSWER_TOKEN = "</a>";

/** As published: 3 beams and 30 tokens at most. */
const publishedGeneration = { beams: 3, maxNewTokens: 30 };

/**
 * The published prompts: a caption starts from the start token alone, an answer follows `question?</a>`. Where the
 * embedding table has no row to spare for `</a>`, words take its place.
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

/** In UTF-16 units: questions are sentences; longer texts are refused before they are tokenized. */
export const MAX_QUESTION_LENGTH = 2000;

/**
 * A task's prompt for one request, in parts, so that nothing a user writes becomes a special token.
 *
 * @throws invalid_option or too_large, naming `question`
 */
export function promptParts(manifest: Manifest, task: TaskName, question: string | undefined): TemplatePart[] {
  const [before = "", ...after] = manifest.tasks[task].prompt.split("{question}");
  if (after.length === 0) return [{ literal: before }];
  const asked = bareQuestion(question);
  return [{ literal: before }, ...after.flatMap((literal) => [{ user: asked }, { literal }])];
}

/** Without the white space around it and the question marks behind it: the template has its own. */
function bareQuestion(question = ""): string {
  if (typeof question !== "string") throw new EpalmError("invalid_option", "question: expected a text");
  const trimmed = question.trim();
  // Before the expression runs, whose time grows with the square of the length.
  if (trimmed.length > MAX_QUESTION_LENGTH) {
    throw unexpected("too_large", "question", `at most ${MAX_QUESTION_LENGTH} characters`, trimmed.length);
  }
  const bare = trimmed.replace(/[?\s]+$/, "");
  if (bare === "") throw new EpalmError("invalid_option", "question: expected a text, got none");
  return bare;
}
