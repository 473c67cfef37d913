import { EpalmError, unexpected } from "../../core/errors.js";
import type { Manifest } from "../../model/manifest.js";
import { answerTokens, promptTokens, tokensBeforeMedium } from "../../model/request-tokens.js";
import { promptParts } from "../../model/tasks.js";
import type { Tokenizer } from "../../tokenizer/tokenizer.js";
import { type BadExample, badExample, type Example } from "./example.js";

/** One text of an example as input of the decoder: prompt, answer, end token. */
export interface TrainingText {
  readonly tokens: readonly number[];
  /** Index of the first token of the answer. */
  readonly answerStart: number;
  /** Number of tokens before the place of the medium's visual tokens. */
  readonly textBefore: number;
}

/** An example with its training texts: one per caption or answer. */
export interface TrainingExample {
  readonly example: Example;
  readonly texts: readonly TrainingText[];
}

/**
 * The training texts of examples, with the same templates that the model uses for inference.
 *
 * @param visualTokens number of visual tokens of a medium, which take positions like text
 */
export function trainingTexts(
  examples: readonly Example[],
  tokenizer: Tokenizer,
  manifest: Manifest,
  visualTokens = 0,
): { readonly good: TrainingExample[]; readonly bad: BadExample[] } {
  const good: TrainingExample[] = [];
  const bad: BadExample[] = [];
  for (const example of examples) {
    try {
      good.push({ example, texts: textsOf(example, tokenizer, manifest, visualTokens) });
    } catch (error) {
      if (!(error instanceof EpalmError)) throw error;
      bad.push(badExample(example.where, error.message));
    }
  }
  return { good, bad };
}

function textsOf(example: Example, tokenizer: Tokenizer, manifest: Manifest, visualTokens: number): TrainingText[] {
  const { decoder, tasks } = manifest;
  const [end = 0] = decoder.endTokens;
  const question = example.kind === "vqa" ? example.question : undefined;
  const template = {
    prompt: promptParts(manifest, example.kind, question),
    answerPrefix: tasks[example.kind].answerPrefix,
  };
  const prompt = promptTokens(tokenizer, template, decoder.startToken);
  const answers = example.kind === "vqa" ? example.answers.filter((answer) => answer !== "") : example.captions;
  if (answers.length === 0) throw new EpalmError("invalid_data", "expected an answer to train on, got only blank ones");
  return answers.map((answer) => {
    const tokens = [...prompt, ...answerTokens(tokenizer, template, prompt, answer), end];
    const room = decoder.shape.positions - visualTokens;
    if (tokens.length > room) {
      throw unexpected("too_large", "text", `at most ${room} tokens of prompt and answer`, tokens.length);
    }
    return { tokens, answerStart: prompt.length, textBefore: tokensBeforeMedium(tokenizer, template) };
  });
}
