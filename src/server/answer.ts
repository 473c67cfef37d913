import type { Answer, AskOptions, EncodedMedium, Ranking, TrustOptions } from "../index.js";
import {
  type CaptionRequest,
  generationOptions,
  type ListAnswer,
  type TextAnswer,
  type trustFields,
  type WireText,
  type WireTimings,
} from "../wire.js";
import type { ServerConfig } from "./config.js";
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
  /** What the operator set for all requests. */
  readonly trust: Pick<ServerConfig, "refuseUnfamiliar" | "minConfidence" | "abstention">;
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
  return { ...wireTexts(context, answer, request), ...wireSource(context, [answer]) };
}

/** Answers one or several questions by generating text or by ranking candidates. */
async function vqaAnswer(context: AnswerContext, request: VqaAsk["fields"]): Promise<TextAnswer | ListAnswer> {
  const questions = typeof request.question === "string" ? [request.question] : request.question;
  const answers = await Promise.all(questions.map((question, index) => askOne(context, request, question, index)));
  const source = wireSource(context, answers);
  const texts = answers.map((answer) => wireTexts(context, answer, request));
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
  const { minConfidence } = context.trust;
  const trust = { minConfidence, ...trustOptions(context, request) };
  if (!request.candidates) return medium.vqa(question, { ...askOptions(context, request, index), ...trust });
  return medium.rank(question, request.candidates, {
    ...(request.rank_by ? { normalisation: request.rank_by } : {}),
    ...trust,
    adapter: request.adapter,
    client,
    // Each question gets its own signal, because Node warns of a memory leak if many listeners share one.
    signal: AbortSignal.any([signal]),
  });
}

function trustOptions({ trust }: AnswerContext, request: Pick<CaptionRequest, keyof typeof trustFields>): TrustOptions {
  const { min_confidence, media_gain, refuse_unfamiliar } = request;
  return {
    ...(min_confidence === undefined ? {} : { minConfidence: min_confidence }),
    abstention: trust.abstention,
    mediaGain: media_gain,
    refuseUnfamiliar: refuse_unfamiliar === true || trust.refuseUnfamiliar,
  };
}

function askOptions(context: AnswerContext, request: CaptionRequest, index: number): AskOptions {
  const { signal, onText, client } = context;
  return {
    ...generationOptions(request),
    ...trustOptions(context, request),
    adapter: request.adapter,
    client,
    signal: AbortSignal.any([signal]),
    onText: onText && ((piece) => onText(index, piece)),
  };
}

/** The texts of an answer and the trust in it. An answer that was replaced is not sent. */
function wireTexts(
  { trust }: AnswerContext,
  answer: Answer | Ranking,
  { logprobs, top_logprobs = 0 }: Pick<CaptionRequest, "logprobs" | "top_logprobs">,
) {
  const isRanking = "answers" in answer;
  const hasTokens = logprobs === true || top_logprobs > 0;
  const texts = isRanking ? answer.answers.map(rankedText) : answer.texts.map((text) => writtenText(text, hasTokens));
  const [best] = texts;
  const gain = isRanking ? best?.media_gain : answer.mediaGain;
  return {
    text: answer.abstained ? trust.abstention : (best?.text ?? ""),
    texts: answer.abstained && !isRanking && best ? [replacedText(best, trust.abstention)] : texts,
    ...(best?.confidence === undefined ? {} : { confidence: best.confidence }),
    ...(answer.abstained ? { abstained: true as const } : {}),
    ...(gain === undefined ? {} : { media_gain: gain }),
  };
}

function replacedText({ score, finish_reason, confidence }: WireText, text: string): WireText {
  return { text, score, finish_reason, ...(confidence === undefined ? {} : { confidence }) };
}

function rankedText(ranked: Ranking["answers"][number]): WireText {
  const { text, index, score, probability, logProb, meanLogProb, confidence, mediaGain } = ranked;
  return {
    ...{ text, score, index, probability, log_prob: logProb, mean_log_prob: meanLogProb },
    ...(confidence === undefined ? {} : { confidence }),
    ...(mediaGain === undefined ? {} : { media_gain: mediaGain }),
  };
}

function writtenText(
  { text, score, finish, confidence, ...of }: Answer["texts"][number],
  hasTokens: boolean,
): WireText {
  const written = { text, score, finish_reason: finish, ...(confidence === undefined ? {} : { confidence }) };
  if (!hasTokens) return written;
  const topAt = (at: number) =>
    of.topLogprobs?.[at]?.map(({ id, piece, logProb }) => ({ id, text: piece, log_prob: logProb }));
  const tokens = of.tokens.map((id, at) => {
    const top = topAt(at);
    return { id, text: of.pieces[at] ?? "", log_prob: of.logProbs[at] ?? 0, ...(top ? { top } : {}) };
  });
  const end = of.logProbs[of.tokens.length];
  const endTop = topAt(of.tokens.length);
  return {
    ...written,
    tokens,
    ...(end === undefined ? {} : { end_log_prob: end }),
    ...(endTop ? { end_top: endTop } : {}),
  };
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
  const [{ adapter = "", familiarity, unfamiliar } = {}] = answers;
  return {
    model: name,
    adapter,
    modality: medium.modality,
    ...(familiarity === undefined ? {} : { familiarity }),
    ...(unfamiliar === undefined ? {} : { unfamiliar }),
    usage: { prompt_tokens: sum("promptTokens"), completion_tokens: sum("newTokens") },
    timings,
  };
}
