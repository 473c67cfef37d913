import type { TemplatePart, Tokenizer } from "../tokenizer/tokenizer.js";

/** A task's prompt for one request, and what stands between it and the answer's own text. */
export interface TextTemplate {
  readonly prompt: readonly TemplatePart[];
  readonly answerPrefix: string;
}

/** The prompt's ids; the start token alone where it has none. */
export function promptTokens(tokenizer: Tokenizer, { prompt }: TextTemplate, startToken: number): number[] {
  const tokens = tokenizer.encodeTemplate(prompt);
  return tokens.length > 0 ? tokens : [startToken];
}

/** An answer's ids as they stand behind the prompt's. */
export function answerTokens(
  tokenizer: Tokenizer,
  { prompt, answerPrefix }: TextTemplate,
  promptTokens: readonly number[],
  answer: string,
): number[] {
  const whole = tokenizer.encodeTemplate([...prompt, { literal: answerPrefix }, { user: answer }]);
  if (promptTokens.every((token, index) => whole[index] === token)) return whole.slice(promptTokens.length);
  // The prompt is the start token alone, or its last word and the answer's first would make other tokens.
  return tokenizer.encodeTemplate([{ literal: answerPrefix }, { user: answer }], { addSpecialTokens: false });
}
