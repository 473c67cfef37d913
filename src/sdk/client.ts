import { type AnswerPiece, AnswerStream } from "../core/answer-stream.js";
import { EpalmError } from "../core/errors.js";
import { modalities } from "../core/modality.js";
import { optionTable } from "../generation/option-table.js";
import type { GenerationOptions } from "../generation/options.js";
import type { TextEvent } from "../wire.js";
import {
  type Answer,
  type Answers,
  isRecord,
  type ModelInfo,
  noAnswer,
  type Ranking,
  readAnswer,
  readAnswers,
  readModels,
  readRanking,
} from "./answer.js";
import { CallClock } from "./call-clock.js";
import { AbortError, EpalmApiError } from "./client-errors.js";
import { type ClientOptions, type ClientSettings, parseClientOptions, parseTimeout } from "./client-settings.js";
import { type FormField, multipartForm } from "./form.js";
import { type MediumInput, readMedium } from "./medium.js";
import type { CommonAskOptions, CommonRankOptions, CommonStreamOptions } from "./multimodal-model.js";
import {
  expectOptions,
  expectTexts,
  generationFields,
  listField,
  textField,
  trustFormFields,
} from "./request-fields.js";
import { Transport, type WireRequest } from "./transport.js";

/** Options of every call. */
export interface CallOptions {
  /** Cancels the call, also in the service. It then rejects with the code `aborted` and the name `AbortError`. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds. Default: the timeout of the client. */
  readonly timeout?: number | undefined;
}

interface TargetOptions extends CallOptions {
  /** Default: the first model of the service. */
  readonly model?: string | undefined;
}

/** Options of a streamed caption request or question. */
export interface StreamOptions extends Omit<CommonStreamOptions, "signal">, TargetOptions {
  /** Whether texts contain their tokens with natural log-probabilities. Default: false. */
  readonly logprobs?: boolean | undefined;
}

/** Options of a caption request or a question. */
export interface AskOptions extends StreamOptions, Pick<CommonAskOptions, "onText"> {}

/** Options of `EpalmClient.rank`. */
export interface RankOptions extends Omit<CommonRankOptions, "signal">, TargetOptions {}

/** The response of `/readyz`. */
export type Health =
  | { readonly isReady: true; readonly models: readonly string[] }
  /** The service is running but accepts no requests: it is loading its models, its queue is full, or it is stopping. */
  | { readonly isReady: false; readonly reason: string };

const targetNames = ["model", "modality", "adapter", "signal", "timeout"] as const;
const callNames: ReadonlySet<string> = new Set(["signal", "timeout"]);
const trustOptionNames = ["refuseUnfamiliar", "minConfidence", "mediaGain"] as const;
const rankNames: ReadonlySet<string> = new Set([...targetNames, ...trustOptionNames, "normalisation"]);
const streamNames: ReadonlySet<string> = new Set([
  ...targetNames,
  ...trustOptionNames,
  "logprobs",
  ...Object.keys(optionTable),
]);
const askNames: ReadonlySet<string> = new Set([...streamNames, "onText"]);

interface ClientRequest {
  readonly path: "/caption" | "/vqa";
  readonly medium: MediumInput;
  readonly fields: readonly FormField[];
  readonly options: TargetOptions & Pick<CommonRankOptions, "adapter" | "modality">;
}

/**
 * A client of an epalm service, for Node 20 and later, Bun, Deno and browsers. It has the methods of a model that is
 * loaded in process: see `MultimodalModel`. It keeps no connection open and needs no closing. Calls may run
 * concurrently.
 *
 * All methods throw `EpalmError`: `EpalmApiError` if the service answers with an error, `EpalmConnectionError`,
 * `EpalmTimeoutError`, or, if the client itself finds the error, an error with the code `aborted`, `invalid_option`,
 * `not_found`, `invalid_media` or `too_large`.
 *
 * @example
 * ```ts
 * import { EpalmClient } from "epalm/sdk";
 * const client = new EpalmClient({ baseUrl: "http://localhost:8080", apiKey: "secret" });
 * const { text } = await client.caption("photo.jpg");
 * for await (const piece of client.streamVqa("photo.jpg", "what is it?")) console.log(piece);
 * ```
 */
export class EpalmClient {
  readonly #settings: ClientSettings;
  readonly #transport: Transport;

  /** @throws invalid_option */
  constructor(options: ClientOptions) {
    this.#settings = parseClientOptions(options);
    this.#transport = new Transport(this.#settings);
  }

  /** Generates a caption of a medium. */
  async caption(medium: MediumInput, options: AskOptions = {}): Promise<Answer> {
    expectOptions(options, askNames);
    const asked = writing("/caption", medium, [], options);
    return this.#write(asked, options.onText, readAnswer);
  }

  /** Answers a question about a medium. */
  async vqa(medium: MediumInput, question: string, options?: AskOptions): Promise<Answer>;
  /** Answers several questions about the same medium, which is sent and encoded only once. */
  async vqa(medium: MediumInput, questions: readonly string[], options?: AskOptions): Promise<Answers>;
  async vqa(
    medium: MediumInput,
    question: string | readonly string[],
    options: AskOptions = {},
  ): Promise<Answer | Answers> {
    expectOptions(options, askNames);
    const asked = writing("/vqa", medium, questionFields(question), options);
    return this.#write(asked, options.onText, answerReader(question));
  }

  /** Orders given answers to a question about a medium by their probability under the model. */
  async rank(
    medium: MediumInput,
    question: string,
    candidates: readonly string[],
    options: RankOptions = {},
  ): Promise<Ranking> {
    expectOptions(options, rankNames);
    expectTexts("candidates", candidates);
    const { normalisation } = options;
    const fields = [
      ...textField("question", question),
      ...listField("candidates", candidates),
      ...textField("rank_by", normalisation),
      ...trustFormFields(options),
    ];
    const asked: ClientRequest = { path: "/vqa", medium, fields, options };
    return this.#call(options, async (clock) => {
      const json = await this.#transport.json(await wireRequest(asked, clock), clock);
      return readRanking(json, candidates);
    });
  }

  /** Generates a caption of a medium, piece by piece. */
  streamCaption(medium: MediumInput, options: StreamOptions = {}): AnswerStream<string, Answer> {
    expectOptions(options, streamNames);
    const asked = writing("/caption", medium, [], options);
    return new AnswerStream((signal) => this.#stream(asked, signal, textOf, readAnswer), leftEarly);
  }

  /** Answers a question about a medium, piece by piece. */
  streamVqa(medium: MediumInput, question: string, options?: StreamOptions): AnswerStream<string, Answer>;
  /** Answers several questions concurrently. Each piece contains the index of its question. */
  streamVqa(
    medium: MediumInput,
    questions: readonly string[],
    options?: StreamOptions,
  ): AnswerStream<AnswerPiece, Answers>;
  streamVqa(
    medium: MediumInput,
    question: string | readonly string[],
    options: StreamOptions = {},
  ): AnswerStream<string, Answer> | AnswerStream<AnswerPiece, Answers> {
    expectOptions(options, streamNames);
    const asked = writing("/vqa", medium, questionFields(question), options);
    if (typeof question === "string") {
      return new AnswerStream((signal) => this.#stream(asked, signal, textOf, readAnswer), leftEarly);
    }
    const read = (json: unknown) => readAnswers(json, question);
    return new AnswerStream((signal) => this.#stream(asked, signal, pieceOf, read), leftEarly);
  }

  /** The models of the service. The first one is the default. */
  async models(options: CallOptions = {}): Promise<ModelInfo[]> {
    expectOptions(options, callNames);
    return this.#call(options, async (clock) => readModels(await this.#transport.json({ path: "/v1/models" }, clock)));
  }

  /**
   * Whether the service accepts requests now. The request is never sent again, because a later answer would be about a
   * later time.
   *
   * @throws EpalmConnectionError, EpalmTimeoutError if the service cannot be reached
   */
  async health(options: CallOptions = {}): Promise<Health> {
    expectOptions(options, callNames);
    return this.#call(options, async (clock) => {
      try {
        const json = await this.#transport.json({ path: "/readyz", retries: 0 }, clock);
        if (!isRecord(json) || !isTexts(json.models)) throw noAnswer();
        return { isReady: true, models: json.models };
      } catch (error) {
        if (!(error instanceof EpalmApiError) || error.status !== 503) throw error;
        return { isReady: false, reason: error.detail };
      }
    });
  }

  #write<Result>(asked: ClientRequest, onText: AskOptions["onText"], read: (json: unknown) => Result): Promise<Result> {
    return this.#call(asked.options, async (clock) => {
      if (!onText) return read(await this.#transport.json(await wireRequest(asked, clock), clock));
      const pieces = this.#pieces(asked, clock, pieceOf, read);
      for (;;) {
        const next = await pieces.next();
        if (next.done) return next.value;
        onText(next.value.text, next.value.index);
      }
    });
  }

  async *#stream<Piece, Result>(
    asked: ClientRequest,
    signal: AbortSignal,
    pieceFrom: (json: unknown) => Piece,
    read: (json: unknown) => Result,
  ): AsyncGenerator<Piece, Result, undefined> {
    const clock = this.#clock(asked.options, signal);
    try {
      return yield* this.#pieces(asked, clock, pieceFrom, read);
    } finally {
      clock.end();
    }
  }

  async *#pieces<Piece, Result>(
    asked: ClientRequest,
    clock: CallClock,
    pieceFrom: (json: unknown) => Piece,
    read: (json: unknown) => Result,
  ): AsyncGenerator<Piece, Result, undefined> {
    const request = await wireRequest(asked, clock, [["stream", "true"]]);
    const data = this.#transport.stream(request, clock);
    try {
      for (;;) {
        const next = await data.next();
        if (next.done) return read(next.value);
        yield pieceFrom(next.value);
      }
    } finally {
      await data.return(undefined);
    }
  }

  async #call<T>(options: CallOptions, run: (clock: CallClock) => Promise<T>): Promise<T> {
    const clock = this.#clock(options);
    try {
      return await run(clock);
    } finally {
      clock.end();
    }
  }

  #clock({ timeout, signal }: CallOptions, other?: AbortSignal): CallClock {
    return new CallClock(parseTimeout(timeout) ?? this.#settings.timeout, [signal, other]);
  }
}

/** A request that generates text. @throws invalid_option */
function writing(
  path: ClientRequest["path"],
  medium: MediumInput,
  fields: readonly FormField[],
  options: StreamOptions,
): ClientRequest {
  const { logprobs } = options;
  if (logprobs !== undefined && typeof logprobs !== "boolean") {
    throw new EpalmError("invalid_option", "logprobs: expected a boolean");
  }
  const generation: GenerationOptions = options;
  return {
    path,
    medium,
    fields: [
      ...fields,
      ...generationFields(generation),
      ...trustFormFields(options),
      ...listField("logprobs", logprobs ? ["true"] : []),
    ],
    options,
  };
}

async function wireRequest(
  { path, medium, fields, options }: ClientRequest,
  clock: CallClock,
  more: readonly FormField[] = [],
): Promise<WireRequest> {
  const { model, adapter, modality } = options;
  if (modality !== undefined && !modalities.includes(modality)) {
    const expected = modalities.join(" or ");
    throw new EpalmError("invalid_option", `modality: expected ${expected}, got ${String(modality)}`);
  }
  const all = [...textField("model", model), ...textField("adapter", adapter), ...fields, ...more];
  return { path, form: multipartForm(all, modality ?? "media", await readMedium(medium, clock)) };
}

/** The error of a stream that the caller leaves before its end. */
function leftEarly(message: string): AbortError {
  return new AbortError(message);
}

function questionFields(question: string | readonly string[]): FormField[] {
  if (typeof question === "string") return textField("question", question);
  expectTexts("question", question);
  // Under this name, even a single question is a list.
  return listField("question[]", question);
}

function answerReader(question: string | readonly string[]): (json: unknown) => Answer | Answers {
  return typeof question === "string" ? readAnswer : (json) => readAnswers(json, question);
}

function pieceOf(json: unknown): AnswerPiece {
  if (!isTextEvent(json)) throw noAnswer();
  return { index: json.index, text: json.text };
}

function textOf(json: unknown): string {
  return pieceOf(json).text;
}

function isTextEvent(json: unknown): json is TextEvent {
  return isRecord(json) && typeof json.index === "number" && typeof json.text === "string";
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}
