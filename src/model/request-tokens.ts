import type { TemplatePart, Tokenizer } from "../tokenizer/tokenizer.js";

/** A task's prompt for one request, and the text between the prompt and the answer. */
export interface TextTemplate {
  readonly prompt: readonly TemplatePart[];
  readonly answerPrefix: string;
}

/** The prompt's token ids; only the start token if the prompt is empty. */
export function promptTokens(tokenizer: Tokenizer, { prompt }: TextTemplate, startToken: number): number[] {
  const tokens = tokenizer.encodeTemplate(prompt);
  return tokens.length > 0 ? tokens : [startToken];
}

/** The token ids of an answer that follows the prompt. */
export function answerTokens(
  tokenizer: Tokenizer,
  { prompt, answerPrefix }: TextTemplate,
  promptTokens: readonly number[],
  answer: string,
): number[] {
  const whole = tokenizer.encodeTemplate([...prompt, { literal: answerPrefix }, { user: answer }]);
  if (promptTokens.every((token, index) => whole[index] === token)) return whole.slice(promptTokens.length);
  // The prompt is only the start token, or its last word and the answer's first one would merge into other tokens.
  return tokenizer.encodeTemplate([{ literal: answerPrefix }, { user: answer }], { addSpecialTokens: false });
}

/** Number of the prompt's tokens before the place of the medium; 0 if the template names none. */
export function tokensBeforeMedium(tokenizer: Tokenizer, { prompt }: TextTemplate): number {
  const place = prompt.findIndex((part) => "medium" in part);
  return place < 0 ? 0 : tokenizer.encodeTemplate(prompt.slice(0, place)).length;
}
