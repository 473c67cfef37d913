import type { Answer, AskOptions, EncodedMedium, GeneratedText, RankedText, Ranking } from "../index.js";
import {
  type CaptionRequest,
  generationOptions,
  type ListAnswer,
  type TextAnswer,
  type WireText,
  type WireTimings,
} from "../wire.js";
import type { AskRequest, CaptionAsk, VqaAsk } from "./requests/ask-request.js";

/** The input of an answer: an encoded medium, the time spent so far, and the receiver of the text. */
export interface AnswerContext {
  /** Name under which the service offers the model. */
  readonly name: string;
  readonly medium: EncodedMedium;
  /** Whose request it is; see `clientOf`. */
  readonly client: string;
  /** Milliseconds before the encoder: waiting in the queue, and fetching the medium. */
  readonly before: { readonly queue: number; readonly media: number };
  readonly signal: AbortSignal;
  /** Receives the text of answer `index` while it is generated. */
  readonly onText: ((index: number, piece: string) => void) | undefined;
}

/** Generates a caption, or answers questions. */
export function answerAsk(
  context: AnswerContext,
  { task, fields, messages }: AskRequest,
): Promise<TextAnswer | ListAnswer> {
  if (messages) return textAnswer(context, fields, context.medium.chat(messages, askOptions(context, fields, 0)));
  if (task === "vqa") return vqaAnswer(context, fields);
  return textAnswer(context, fields, context.medium.caption(askOptions(context, fields, 0)));
}

async function textAnswer(
  context: AnswerContext,
  request: CaptionAsk["fields"],
  answering: Promise<Answer>,
): Promise<TextAnswer> {
  const answer = await answering;
  const { text, texts } = wireTexts(answer, request);
  return { text, texts, ...wireSource(context, [answer]) };
}

/** Answers one or several questions by generating text or by ranking candidates. */
async function vqaAnswer(context: AnswerContext, request: VqaAsk["fields"]): Promise<TextAnswer | ListAnswer> {
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
  request: VqaAsk["fields"],
  question: string,
  index: number,
): Promise<Answer | Ranking> {
  const { medium, signal, client } = context;
  if (!request.candidates) return medium.vqa(question, askOptions(context, request, index));
  return medium.rank(question, request.candidates, {
    ...(request.rank_by ? { normalisation: request.rank_by } : {}),
    adapter: request.adapter,
    client,
    // Each question gets its own signal, because Node warns of a memory leak if many listeners share one.
    signal: AbortSignal.any([signal]),
  });
}

function askOptions({ signal, onText, client }: AnswerContext, request: CaptionRequest, index: number): AskOptions {
  return {
    ...generationOptions(request),
    adapter: request.adapter,
    client,
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
