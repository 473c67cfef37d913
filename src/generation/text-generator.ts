import { createHash } from "node:crypto";
import type { InjectionPlan, VisualTokenPlan } from "../adapter/injection-plan.js";
import { EpalmError, excerpt, unexpected } from "../core/errors.js";
import { answerTokens, promptTokens, tokensBeforeMedium } from "../model/request-tokens.js";
import { bytesOf, type Tensor } from "../tensor/tensor.js";
import type { TemplatePart, Tokenizer } from "../tokenizer/tokenizer.js";
import { TextStream } from "../tokenizer/tokenizer.js";
import type { DecodingReport, Engine, EngineCounts } from "./engine.js";
import { ConstraintCompiler, type TokenConstraint } from "./grammar/token-constraint.js";
import { type GenerationOptions, type GenerationPlan, parseGenerationOptions } from "./options.js";
import { type RankedAnswer, type RankingOptions, rankAnswers } from "./ranking.js";
import { DecodingRequest, ScoringRequest } from "./request.js";
import type { RequestOrigin } from "./request-origin.js";
import { type SequenceContext, type SequenceVisual, statesByLayer } from "./sequence.js";
import { createStrategy } from "./strategies/create-strategy.js";
import { cutAtStop, streamableText } from "./strategies/stop-rules.js";
import type { FinishedHypothesis, FinishReason, Strategy } from "./strategies/strategy.js";

/** The conditioning of a text: what an adapter computed from one medium, and the soft prompt of the same adapter. */
export interface Conditioning {
  /** Perceptual states [K, d] and the layers that they overwrite; absent without a medium. */
  readonly perception?: { readonly states: Tensor; readonly plan: InjectionPlan } | undefined;
  /** Visual tokens [n, E]; only of adapters that compute them. */
  readonly visual?: { readonly tokens: Tensor; readonly plan: VisualTokenPlan } | undefined;
  /** Shape [P, E]. */
  readonly softPrompt?: Tensor | undefined;
}

/** Plain data, so that it can be sent to another thread. */
export interface TextRequest {
  readonly prompt: readonly TemplatePart[];
  /** The task's text between prompt and answer; see the manifest. */
  readonly answerPrefix: string;
  readonly conditioning: Conditioning;
  /** The option that contains the text, for messages about its length. Default: `maxNewTokens`. */
  readonly textField?: string | undefined;
}

/** One generated string with its tokens, log-probabilities and score. */
export interface GeneratedText {
  readonly text: string;
  /** New tokens, without the end token. */
  readonly tokens: readonly number[];
  /** The string that each token adds to the text; empty while a character's bytes are incomplete. */
  readonly pieces: readonly string[];
  /** Natural log-probability of each token; if the text ended with an end token, that token's is the last. */
  readonly logProbs: readonly number[];
  /** With `topLogprobs`, for each of `logProbs`: the tokens that were most probable in its place, best first. */
  readonly topLogprobs?: readonly (readonly TopToken[])[] | undefined;
  readonly score: number;
  readonly finish: FinishReason;
}

/** A token that was among the most probable ones in its place. */
export interface TopToken {
  readonly id: number;
  /** The string that it would have added to the text. */
  readonly piece: string;
  /** Natural log-probability under the model itself. */
  readonly logProb: number;
}

export interface Generation {
  /** Best first. */
  readonly texts: readonly GeneratedText[];
  /** Visual tokens and tokens of the text. */
  readonly promptTokens: number;
  /** Number of new tokens of all texts together. */
  readonly newTokens: number;
  readonly decoding: DecodingReport;
}

/** One candidate with its position in the request, its score and its probability. */
export interface RankedText extends RankedAnswer {
  readonly text: string;
}

export interface RankedTexts {
  /** Best first. */
  readonly answers: readonly RankedText[];
  /** Visual tokens, and tokens of the prompt and of all candidates with their end tokens. */
  readonly promptTokens: number;
  readonly decoding: DecodingReport;
}

export interface GenerateOptions {
  readonly origin?: RequestOrigin | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Receives the text piece by piece. With beams or several texts, it receives the whole best text at the end. */
  readonly onText?: ((piece: string) => void) | undefined;
  /** Whether `maxNewTokens` is reduced to the room that the prompt leaves, because it is only a default. */
  readonly shortens?: boolean | undefined;
}

/** The start token and the end tokens of a decoder. */
export interface SpecialTokenIds {
  readonly bosTokenId: number;
  readonly eosTokenIds: readonly number[];
}

/** Maximum number of candidate answers in one request; each of them has to be computed. */
export const MAX_CANDIDATES = 4096;

/** Generates and ranks texts with one engine. */
export class TextGenerator {
  readonly #engine: Engine;
  readonly #tokenizer: Tokenizer;
  readonly #specialTokens: SpecialTokenIds;
  readonly #constraints: ConstraintCompiler;

  constructor(engine: Engine, tokenizer: Tokenizer, specialTokens: SpecialTokenIds) {
    this.#engine = engine;
    this.#tokenizer = tokenizer;
    this.#specialTokens = specialTokens;
    this.#constraints = new ConstraintCompiler(tokenizer, specialTokens.eosTokenIds);
  }

  /** @throws invalid_option, also if the context is too small; too_large, aborted */
  async generate(request: TextRequest, options: GenerationOptions, control: GenerateOptions = {}): Promise<Generation> {
    const prompt = this.promptTokens(request);
    this.#expectRoom(request, prompt.length, 1, request.textField ?? "maxNewTokens");
    const room = this.#engine.decoder.shape.positions - visualCount(request) - prompt.length;
    const given = parseGenerationOptions(options);
    const plan =
      control.shortens && given.limits.maxNewTokens > room
        ? parseGenerationOptions({ ...options, maxNewTokens: room })
        : given;
    this.#expectRoom(request, prompt.length, plan.limits.maxNewTokens, "maxNewTokens");
    const constraint = plan.constraint && this.#constraints.compile(plan.constraint);
    const decoder: TokenDecoder = constraint ?? this.#tokenizer;
    const strategy = createStrategy(plan, {
      eosTokenIds: new Set(this.#specialTokens.eosTokenIds),
      decode: (tokens) => decoder.decode(tokens),
      constraint,
      prompt,
      biases: this.#biasesOf(plan.penalties?.logitBias ?? {}),
    });
    const streamed = new StreamedText(decoder, plan.limits.stop, control.onText, constraint === undefined);
    const job = new DecodingRequest(this.#contextOf(request), prompt, strategy, control.origin);
    const decoding = await this.#engine.run(job, {
      signal: control.signal,
      onProgress: () => streamed.follow(strategy),
    });
    const texts = strategy.hypotheses().map((hypothesis) => this.#textOf(hypothesis, plan, constraint));
    streamed.finish(texts[0]?.text ?? "");
    const newTokens = texts.reduce((sum, { logProbs }) => sum + logProbs.length, 0);
    return { texts, promptTokens: visualCount(request) + prompt.length, newTokens, decoding };
  }

  /**
   * Ranks candidate answers by their probability after the prompt, best first. The probability includes the end token,
   * so that "a dog" has no advantage from being the beginning of "a dog house".
   *
   * @throws invalid_option, too_large, aborted
   */
  async rank(
    request: TextRequest,
    candidates: readonly string[],
    options: RankingOptions & Omit<GenerateOptions, "onText"> = {},
  ): Promise<RankedTexts> {
    if (candidates.length === 0 || candidates.length > MAX_CANDIDATES) {
      throw unexpected("invalid_option", "candidates", `1 to ${MAX_CANDIDATES}`, candidates.length);
    }
    const prompt = this.promptTokens(request);
    const [end = 0] = this.#specialTokens.eosTokenIds;
    const answers = candidates.map((text, index) => {
      const tokens = answerTokens(this.#tokenizer, request, prompt, text);
      if (tokens.length === 0)
        throw unexpected("invalid_option", `candidates[${index}]`, "a non-empty string", "an empty one");
      this.#expectRoom(request, prompt.length, tokens.length + 1, `candidates[${index}]`);
      return [...tokens, end];
    });
    const job = new ScoringRequest(this.#contextOf(request), prompt, answers, options.origin);
    const decoding = await this.#engine.run(job, { signal: options.signal });
    const ranked = rankAnswers(job.logProbs, options);
    return {
      answers: ranked.map((answer) => ({ ...answer, text: candidates[answer.index] ?? "" })),
      promptTokens: answers.reduce((sum, tokens) => sum + tokens.length, visualCount(request) + prompt.length),
      decoding,
    };
  }

  /** Natural log-probability of each token of a text except the first, without a prompt, for evaluating models. */
  async scoreText(text: string): Promise<number[]> {
    const [first = this.#specialTokens.bosTokenId, ...rest] = this.#tokenizer.encode(text);
    if (rest.length === 0) return [];
    this.#expectRoom(undefined, 1, rest.length, "text");
    const job = new ScoringRequest({}, [first], [rest]);
    await this.#engine.run(job);
    return job.logProbs[0] ?? [];
  }

  get counts(): EngineCounts {
    return this.#engine.counts;
  }

  /** The prompt's token ids; only the start token if the prompt is empty. */
  promptTokens(request: TextRequest): number[] {
    return promptTokens(this.#tokenizer, request, this.#specialTokens.bosTokenId);
  }

  #expectRoom(request: TextRequest | undefined, promptTokens: number, newTokens: number, field: string): void {
    const { positions } = this.#engine.decoder.shape;
    const visual = request ? visualCount(request) : 0;
    if (visual + promptTokens + newTokens <= positions) return;
    const ofMedium = visual > 0 ? ` and the medium ${visual}` : "";
    throw new EpalmError(
      "invalid_option",
      `${field}: the prompt has ${promptTokens} tokens${ofMedium}, and ${newTokens} more exceed the model's limit of ${positions}`,
    );
  }

  #contextOf(request: TextRequest): SequenceContext {
    const { perception, visual, softPrompt } = request.conditioning;
    return {
      softPrompt,
      perception: perception && {
        plan: perception.plan,
        states: statesByLayer(perception.states, perception.plan),
      },
      visual: visual && this.#visualOf(request, visual),
    };
  }

  #visualOf(request: TextRequest, visual: NonNullable<Conditioning["visual"]>): SequenceVisual {
    const textBefore = tokensBeforeMedium(this.#tokenizer, request);
    const hash = createHash("sha256").update(JSON.stringify([visual.plan, textBefore, visual.tokens.shape]));
    const { softPrompt } = request.conditioning;
    for (const tensor of softPrompt ? [visual.tokens, softPrompt] : [visual.tokens]) hash.update(bytesOf(tensor.data));
    return { ...visual, textBefore, key: hash.digest("base64") };
  }

  #textOf(
    hypothesis: FinishedHypothesis,
    { limits, topLogprobs }: GenerationPlan,
    constraint: TokenConstraint | undefined,
  ): GeneratedText {
    const { tokens, logProbs, alternatives, score, finish } = hypothesis;
    const cut = (text: string) => cutAtStop(text, limits.stop);
    const text = constraint?.complete(tokens, cut) ?? cut(this.#tokenizer.decode(tokens)).trim();
    const stream = new TextStream(constraint ?? this.#tokenizer);
    const pieces: string[] = [];
    const top: TopToken[][] = [];
    for (const [at, choices] of alternatives.entries()) {
      top.push(choices.map(({ token, logProb }) => ({ id: token, piece: stream.peek(token), logProb })));
      const token = tokens[at];
      // An end token is not among the tokens.
      if (token !== undefined) pieces.push(stream.push(token));
    }
    return { text, tokens, pieces, logProbs, ...(topLogprobs ? { topLogprobs: top } : {}), score, finish };
  }

  /** The biases by token id. A string gives its bias to all of its tokens, as in the server of llama.cpp. */
  #biasesOf(logitBias: Readonly<Record<string, number>>): ReadonlyMap<number, number> {
    const { vocabulary } = this.#engine.decoder.shape;
    const biases = Object.entries(logitBias).flatMap(([key, bias]) => {
      const ids = /^\d+$/.test(key)
        ? [Number(key)]
        : this.#tokenizer.encodeTemplate([{ user: key }], { addSpecialTokens: false });
      if (ids.length > 0 && ids.every((id) => id < vocabulary)) return ids.map((id) => [id, bias] as const);
      const expected = `token ids below ${vocabulary} and strings with tokens`;
      throw unexpected("invalid_option", "logitBias", expected, `'${excerpt(key)}'`);
    });
    return new Map(biases);
  }
}

/** Number of visual tokens, which take positions like text. */
function visualCount({ conditioning }: TextRequest): number {
  return conditioning.visual?.tokens.shape[0] ?? 0;
}

type TokenDecoder = Pick<Tokenizer, "decode">;

/** Streams a growing text: it emits only characters that cannot change, and in total exactly the final text. */
class StreamedText {
  readonly #stream: TextStream;
  readonly #stop: readonly string[];
  readonly #onText: ((piece: string) => void) | undefined;
  #read = 0;
  #text = "";
  readonly #trims: boolean;
  #given = 0;

  constructor(
    decoder: TokenDecoder,
    stop: readonly string[],
    onText: ((piece: string) => void) | undefined,
    trims: boolean,
  ) {
    this.#stream = new TextStream(decoder);
    this.#trims = trims;
    this.#stop = stop;
    this.#onText = onText;
  }

  follow(strategy: Strategy): void {
    const tokens = this.#onText && strategy.settledTokens();
    if (!tokens) return;
    for (const token of tokens.slice(this.#read)) this.#text += this.#stream.push(token);
    this.#read = tokens.length;
    const text = streamableText(this.#text, this.#stop);
    // White space at the end is held back if the final text is trimmed.
    this.#give(this.#trims ? text.trim() : text);
  }

  finish(text: string): void {
    this.#give(text);
  }

  #give(text: string): void {
    if (text.length <= this.#given) return;
    this.#onText?.(text.slice(this.#given));
    this.#given = text.length;
  }
}
