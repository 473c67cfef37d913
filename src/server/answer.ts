import type { Answer, AskOptions, EncodedMedium, GeneratedText, RankedText, Ranking } from "../index.js";
import {
  type CaptionRequest,
  generationOptions,
  type ListAnswer,
  type TextAnswer,
  type VqaRequest,
  type WireText,
  type WireTimings,
} from "../wire.js";

/** What an answer is made from: an encoded medium, how long it took to get there, and where the text goes. */
export interface AnswerContext {
  /** Name under which the model is served. */
  readonly name: string;
  readonly medium: EncodedMedium;
  /** Milliseconds before the encoder: in the queue, and for a medium's way here. */
  readonly before: { readonly queue: number; readonly media: number };
  readonly signal: AbortSignal;
  /** Gets the text of answer `index` as it grows. */
  readonly onText: ((index: number, piece: string) => void) | undefined;
}

/** What is in a medium. */
export async function captionAnswer(context: AnswerContext, request: CaptionRequest): Promise<TextAnswer> {
  const answer = await context.medium.caption(askOptions(context, request, 0));
  const { text, texts } = wireTexts(answer, request);
  return { text, texts, ...wireSource(context, [answer]) };
}

/** The answer to one question or several, written or chosen. */
export async function vqaAnswer(context: AnswerContext, request: VqaRequest): Promise<TextAnswer | ListAnswer> {
  const questions = typeof request.question === "string" ? [request.question] : request.question;
  const answers = await Promise.all(questions.map((question, index) => askOne(context, request, question, index)));
  const source = wireSource(context, answers);
  const texts = answers.map((answer) => wireTexts(answer, request));
  if (typeof request.question === "string") return { text: "", texts: [], ...texts[0], ...source };
  return {
    answers: questions.map((question, index) => ({ question, text: "", texts: [], ...texts[index] })),
    ...source,
  };
}

function askOne(
  context: AnswerContext,
  request: VqaRequest,
  question: string,
  index: number,
): Promise<Answer | Ranking> {
  const { medium, signal } = context;
  if (!request.candidates) return medium.vqa(question, askOptions(context, request, index));
  return medium.rank(question, request.candidates, {
    ...(request.rank_by ? { normalisation: request.rank_by } : {}),
    adapter: request.adapter,
    signal,
  });
}

function askOptions({ signal, onText }: AnswerContext, request: CaptionRequest, index: number): AskOptions {
  return {
    ...generationOptions(request),
    adapter: request.adapter,
    // One for each question: Node warns of a leak where many listen to the same.
    signal: AbortSignal.any([signal]),
    onText: onText && ((piece) => onText(index, piece)),
  };
}

function wireTexts(
  answer: Answer | Ranking,
  { logprobs }: Pick<CaptionRequest, "logprobs">,
): { readonly text: string; readonly texts: WireText[] } {
  const texts =
    "answers" in answer
      ? answer.answers.map(rankedText)
      : answer.texts.map((text) => writtenText(text, logprobs === true));
  return { text: texts[0]?.text ?? "", texts };
}

function rankedText({ text, index, score, probability, logProb, meanLogProb }: RankedText): WireText {
  return { text, score, index, probability, log_prob: logProb, mean_log_prob: meanLogProb };
}

function writtenText({ text, score, finish, ...of }: GeneratedText, logprobs: boolean): WireText {
  if (!logprobs) return { text, score, finish_reason: finish };
  const tokens = of.tokens.map((id, at) => ({
    id,
    text: of.pieces[at] ?? "",
    log_prob: of.logProbs[at] ?? 0,
  }));
  const end = of.logProbs[of.tokens.length];
  return { text, score, finish_reason: finish, tokens, ...(end === undefined ? {} : { end_log_prob: end }) };
}

function wireSource({ name, medium, before }: AnswerContext, answers: readonly (Answer | Ranking)[]) {
  const longest = (stage: "adapter" | "decoder") => Math.max(...answers.map(({ timings }) => timings[stage]));
  const sum = (key: "promptTokens" | "newTokens") => answers.reduce((total, { usage }) => total + usage[key], 0);
  const timings: WireTimings = {
    queue: before.queue,
    media: before.media + medium.timings.media,
    encoder: medium.timings.encoder,
    adapter: longest("adapter"),
    decoder: longest("decoder"),
  };
  return {
    model: name,
    adapter: answers[0]?.adapter ?? "",
    modality: medium.modality,
    usage: { prompt_tokens: sum("promptTokens"), completion_tokens: sum("newTokens") },
    timings,
  };
}
