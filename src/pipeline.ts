import { join } from "node:path";
import type { Adapter } from "./adapter/adapter.js";
import { type AnswerPiece, AnswerStream, piecesOfCall } from "./core/answer-stream.js";
import { EpalmError, unexpected } from "./core/errors.js";
import type { Modality } from "./core/modality.js";
import {
  type EncoderOutput,
  MediaEncoder,
  type MediaEncoderCounts,
  type MediaEncoderOptions,
  type MediumInput,
} from "./encoding/media-encoder.js";
import { MediaThread } from "./encoding/media-thread.js";
import { readMedium } from "./encoding/read-medium.js";
import type { EngineCounts } from "./generation/engine.js";
import type { GenerationOptions } from "./generation/options.js";
import type { RankingOptions } from "./generation/ranking.js";
import type { Conditioning, GeneratedText, RankedText, TextRequest } from "./generation/text-generator.js";
import { RemoteTextGenerator } from "./generation/text-generator-thread.js";
import { type AdapterChanges, AdapterRegistry, type ReadyAdapter } from "./model/adapter-registry.js";
import { encodersOf, modalitiesOf } from "./model/encoders.js";
import type { Manifest, TaskName } from "./model/manifest.js";
import { openModelFolder } from "./model/model-folder.js";
import { promptParts } from "./model/tasks.js";
import { SessionThread } from "./runtime/session-thread.js";
import type { Tensor } from "./tensor/tensor.js";

export interface LoadOptions extends MediaEncoderOptions {
  /** Compare the checksum of every file before it is used. Default true. */
  readonly checksums?: boolean | undefined;
  /** Threads that each graph computes with. Default: one per core. */
  readonly threads?: number | undefined;
  /** See `SessionOptions.mapWeights`. Default false. */
  readonly mapWeights?: boolean | undefined;
}

export interface StreamOptions extends GenerationOptions {
  /** Default: the first adapter of the folder that was trained for the task. */
  readonly adapter?: string | undefined;
  /** What the medium is to be taken for. Default: the named adapter's, or else what the medium's content says. */
  readonly modality?: Modality | undefined;
  /** Leaves the medium out: its states are zeros. What it adds is the difference. Default false. */
  readonly textOnly?: boolean | undefined;
  /** Takes the request back; it then rejects with `aborted`. */
  readonly signal?: AbortSignal | undefined;
}

export interface AskOptions extends StreamOptions {
  /**
   * Gets the text as it grows, and which of several questions it answers. With beams or several texts: all at once, at
   * the end.
   */
  readonly onText?: ((piece: string, index: number) => void) | undefined;
}

export interface RankOptions extends RankingOptions {
  readonly adapter?: string | undefined;
  readonly modality?: Modality | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Milliseconds. */
export interface Timings {
  readonly media: number;
  readonly encoder: number;
  readonly adapter: number;
  readonly decoder: number;
}

export interface EncodeOptions {
  /** What the medium is to be taken for. Default: the named adapter's, or else what the medium's content says. */
  readonly modality?: Modality | undefined;
  /** That will be asked for: one that does not exist or takes another modality is refused before the medium is read. */
  readonly adapter?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What decides which adapter grounds an answer, and in what. */
type ConditioningOptions = Pick<StreamOptions, "adapter" | "modality" | "textOnly" | "signal">;

/** What an adapter made of a medium. */
interface ConditionedSource extends Omit<Source, "timings"> {
  readonly conditioning: Conditioning;
  readonly timings: Omit<Timings, "decoder">;
}

/** Who gave an answer, and how long it took. */
interface Source {
  readonly model: string;
  readonly adapter: string;
  readonly modality: Modality;
  /** Several questions overlap: the longest counts. */
  readonly timings: Timings;
}

interface Usage {
  readonly promptTokens: number;
  readonly newTokens: number;
}

export interface Answer extends Source {
  /** The best text. */
  readonly text: string;
  /** All texts, best first. */
  readonly texts: readonly GeneratedText[];
  readonly usage: Usage;
}

/** Answers to several questions about one medium. */
export interface Answers extends Source {
  /** In the order of the questions. */
  readonly answers: readonly {
    readonly question: string;
    readonly text: string;
    readonly texts: readonly GeneratedText[];
  }[];
  /** Of all together. */
  readonly usage: Usage;
}

export interface Ranking extends Source {
  /** Best first; `probability` sums to 1 over all. */
  readonly answers: readonly RankedText[];
  /** Candidates are read, not written: `promptTokens` counts theirs, too, and `newTokens` is 0. */
  readonly usage: Usage;
}

/** What was done so far, since the model was loaded. */
export interface ModelCounts {
  readonly encoder: MediaEncoderCounts;
  readonly decoder: EngineCounts;
}

/**
 * Opens a model folder. Graphs compute in threads of their own; nothing is fetched from anywhere.
 *
 * @throws not_found, invalid_model, invalid_adapter
 */
export async function load(path: string, options: LoadOptions = {}): Promise<Model> {
  const folder = await openModelFolder(path, { checksums: options.checksums });
  const { decoder } = folder.manifest;
  const session = { threads: options.threads, mapWeights: options.mapWeights };
  const thread = new SessionThread();
  const media = new MediaThread();
  const opening = RemoteTextGenerator.open({
    graph: join(path, decoder.graph),
    tokenizer: join(path, decoder.tokenizer),
    shape: decoder.shape,
    specialTokens: { bosTokenId: decoder.startToken, eosTokenIds: decoder.endTokens },
    session,
  });
  try {
    const [encoders, adapters, generator] = await Promise.all([
      Promise.all(
        encodersOf(folder.manifest).map(async (encoder) => ({
          encoder,
          session: await thread.open(join(path, encoder.graph), session),
        })),
      ),
      AdapterRegistry.open(folder, thread),
      opening,
    ]);
    const mediaEncoder = new MediaEncoder(media, encoders, options);
    return new Model(adapters, { sessions: thread, media, generator }, mediaEncoder);
  } catch (error) {
    await Promise.allSettled([thread.close(), media.close(), opening.then((generator) => generator.close())]);
    throw error;
  }
}

/** Where a model computes. */
interface ModelThreads {
  readonly sessions: SessionThread;
  readonly media: MediaThread;
  readonly generator: RemoteTextGenerator;
}

/** A loaded model folder: media and questions in, text out. Calls may run side by side; they share steps. */
export class Model {
  readonly #threads: ModelThreads;
  readonly #encoder: MediaEncoder;
  readonly #adapters: AdapterRegistry;
  #isClosed = false;

  constructor(adapters: AdapterRegistry, threads: ModelThreads, mediaEncoder: MediaEncoder) {
    this.#threads = threads;
    this.#encoder = mediaEncoder;
    this.#adapters = adapters;
  }

  /** What it takes, in the order of its encoders. */
  get modalities(): readonly Modality[] {
    return modalitiesOf(this.manifest);
  }

  /** As it was when the folder was opened or its adapters were last read again. */
  get manifest(): Manifest {
    return this.#adapters.manifest;
  }

  /** Says what is in a picture, a sound or a video. */
  caption(medium: MediumInput, options: AskOptions = {}): Promise<Answer> {
    return this.#answer("caption", medium, undefined, options);
  }

  /** Answers a question about a medium. */
  async vqa(medium: MediumInput, question: string, options?: AskOptions): Promise<Answer>;
  /** Answers several questions about the same medium, which is then encoded once. */
  async vqa(medium: MediumInput, questions: readonly string[], options?: AskOptions): Promise<Answers>;
  async vqa(
    medium: MediumInput,
    question: string | readonly string[],
    options: AskOptions = {},
  ): Promise<Answer | Answers> {
    if (typeof question !== "string") return this.#answerAll(medium, question, options);
    return this.#answer("vqa", medium, question, options);
  }

  /** Says what is in a medium, piece by piece. */
  streamCaption(medium: MediumInput, options: StreamOptions = {}): AnswerStream<string, Answer> {
    return stream(options, (call: AskOptions) => this.caption(medium, call), textOf);
  }

  /** Answers a question about a medium, piece by piece. */
  streamVqa(medium: MediumInput, question: string, options?: StreamOptions): AnswerStream<string, Answer>;
  /** Answers several questions at once: each piece says whose it is. */
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
    return typeof question === "string"
      ? stream(options, (call: AskOptions) => this.vqa(medium, question, call), textOf)
      : stream(
          options,
          (call: AskOptions) => this.vqa(medium, question, call),
          (piece) => piece,
        );
  }

  /** Orders given answers to a question about a medium by how probable the model finds them. */
  async rank(
    medium: MediumInput,
    question: string,
    candidates: readonly string[],
    options: RankOptions = {},
  ): Promise<Ranking> {
    const { adapter: _adapter, modality: _modality, signal, ...ranking } = options;
    const request = this.#request("vqa", question);
    const { conditioning, ...source } = await this.#condition("vqa", medium, options);
    const started = performance.now();
    const result = await this.#threads.generator.rank({ ...request, conditioning }, candidates, {
      ...ranking,
      signal,
    });
    return {
      answers: result.answers,
      ...source,
      usage: { promptTokens: result.promptTokens, newTokens: 0 },
      timings: { ...source.timings, decoder: performance.now() - started },
    };
  }

  /** Decodes and encodes a medium once, so that any number of captions and answers can be made from its states. */
  async encode(medium: MediumInput, options: EncodeOptions = {}): Promise<EncodedMedium> {
    return new EncodedMedium(this, await this.#encode(medium, options));
  }

  #encode(medium: MediumInput, options: EncodeOptions): Promise<EncoderOutput> {
    this.#expectOpen();
    return this.#encoder.encode(medium, this.#knownModality(options), options.signal);
  }

  /** Natural log-probability of each token of a text but the first, without a medium or an adapter. */
  async scoreText(text: string): Promise<number[]> {
    this.#expectOpen();
    return this.#threads.generator.scoreText(text);
  }

  async #answer(
    task: TaskName,
    medium: MediumInput,
    question: string | undefined,
    options: AskOptions,
  ): Promise<Answer> {
    const { adapter: _adapter, modality: _modality, textOnly: _blind, signal, onText, ...rest } = options;
    const given: GenerationOptions = definedOnly(rest);
    const request = this.#request(task, question);
    const { conditioning, ...source } = await this.#condition(task, medium, options);
    const started = performance.now();
    const generation = this.#generationOptions(task, given);
    const result = await this.#threads.generator.generate({ ...request, conditioning }, generation, {
      signal,
      onText: onText && ((piece) => onText(piece, 0)),
    });
    return {
      text: result.texts[0]?.text ?? "",
      texts: result.texts,
      ...source,
      usage: { promptTokens: result.promptTokens, newTokens: result.newTokens },
      timings: { ...source.timings, decoder: performance.now() - started },
    };
  }

  /** Questions side by side; one that fails takes the others back. */
  async #answerAll(medium: MediumInput, questions: readonly string[], options: AskOptions): Promise<Answers> {
    expectQuestions(questions);
    const { adapter, modality, signal, onText } = options;
    // A stream can be read once, and there are several questions.
    const encoded = options.textOnly
      ? await readMedium(medium, signal)
      : await this.#encode(medium, { adapter, modality, signal });
    const failure = new AbortController();
    const asking = questions.map((question, index) =>
      this.#answer("vqa", encoded, question, {
        ...options,
        // One for each: Node warns of a leak where many listen to the same.
        signal: AbortSignal.any(signal ? [signal, failure.signal] : [failure.signal]),
        onText: onText && ((piece) => onText(piece, index)),
      }),
    );
    try {
      return joined(questions, await Promise.all(asking));
    } catch (error) {
      failure.abort();
      throw error;
    }
  }

  /** @throws aborted */
  #expectOpen(): void {
    if (this.#isClosed) throw new EpalmError("aborted", "the model was closed");
  }

  #request(task: TaskName, question: string | undefined): Omit<TextRequest, "conditioning"> {
    return {
      prompt: promptParts(this.manifest, task, question),
      answerPrefix: this.manifest.tasks[task].answerPrefix,
    };
  }

  /** The task's defaults, but those of beam search only where the request does not draw. */
  #generationOptions(task: TaskName, given: GenerationOptions): GenerationOptions {
    const { beams, lengthPenalty, maxNewTokens } = this.manifest.tasks[task].generation;
    const draws = (given.temperature ?? 0) > 0;
    const searches = !draws && (given.beams ?? beams ?? 1) > 1;
    return { maxNewTokens, ...(draws ? {} : { beams }), ...(searches ? { lengthPenalty } : {}), ...given };
  }

  /** What an adapter makes of a medium; where its modality is known, whether there is an adapter is known first. */
  async #condition(task: TaskName, medium: MediumInput, options: ConditioningOptions): Promise<ConditionedSource> {
    this.#expectOpen();
    const { adapter: name, textOnly = false, signal } = options;
    const known = this.#knownModality(options);
    const detected = known === undefined ? await this.#encode(medium, { signal }) : undefined;
    const modality = detected?.modality ?? known ?? this.manifest.encoder.modality;
    return this.#adapters.acquire({ task, modality, name }, async (adapter) => {
      const encoded = textOnly
        ? this.#encoder.zeroStates(modality)
        : (detected ?? (await this.#encode(medium, { modality, signal })));
      const started = performance.now();
      const projected = await projectedStates(adapter, encoded.states);
      return {
        conditioning: {
          perception: { states: projected, plan: adapter.plan },
          softPrompt: adapter.softPrompt,
        },
        model: this.manifest.name,
        adapter: adapter.name,
        modality,
        timings: { ...encoded.timings, adapter: performance.now() - started },
      };
    });
  }

  /**
   * A medium's modality, where it need not be looked at for that.
   *
   * @throws invalid_option, not_found for a modality that the model does not take and for an adapter of another one
   */
  #knownModality({ modality, adapter }: EncodeOptions): Modality | undefined {
    const taken = this.modalities;
    if (modality !== undefined && !taken.includes(modality)) {
      throw unexpected("invalid_option", "modality", taken.join(" or "), modality);
    }
    if (adapter !== undefined) return this.#adapters.modalityOf(adapter, modality);
    return modality ?? (taken.length === 1 ? taken[0] : undefined);
  }

  /**
   * Takes an adapter that stands in no folder, under a name that requests can give; one of the same name is replaced
   * for requests to come.
   *
   * @param modality of the encoder whose states it takes; by default the model's first
   * @throws invalid_adapter if it does not fit the model
   */
  async useAdapter(name: string, adapter: Adapter, modality: Modality = this.manifest.encoder.modality): Promise<void> {
    await this.#adapters.use(name, adapter, modality);
  }

  /**
   * Reads the folder's manifest again and takes what changed about its adapters, and adapter files that lie in
   * `adapters/` without being in the manifest: for both tasks, under the name of the file, for the first encoder that
   * they fit. Those that are damaged or do
   * not fit are reported, and what ran under their name before goes on.
   *
   * @throws not_found or invalid_model if the manifest cannot be read or is now another model's
   */
  refreshAdapters(): Promise<AdapterChanges> {
    return this.#adapters.refresh();
  }

  /** What the encoders and the decoder did so far. */
  async counts(): Promise<ModelCounts> {
    return { encoder: this.#encoder.counts, decoder: await this.#threads.generator.counts() };
  }

  /** Ends its threads; calls that still run are rejected. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const { sessions, media, generator } = this.#threads;
    await Promise.all([sessions.close(), media.close(), generator.close()]);
  }
}

/** A medium whose states are known, ready to be captioned and asked about by the model that encoded it. */
export class EncodedMedium implements EncoderOutput {
  readonly modality: Modality;
  /** The [CLS] states after each block, each passed through the final norm: [depth, dv], first block first. */
  readonly states: Tensor;
  readonly cached: boolean;
  readonly timings: EncoderOutput["timings"];
  readonly #model: Model;

  constructor(model: Model, { modality, states, cached, timings }: EncoderOutput) {
    this.#model = model;
    this.modality = modality;
    this.states = states;
    this.cached = cached;
    this.timings = timings;
  }

  /** See `Model.caption`. */
  caption(options?: AskOptions): Promise<Answer> {
    return this.#model.caption(this, options);
  }

  /** See `Model.vqa`. */
  vqa(question: string, options?: AskOptions): Promise<Answer>;
  vqa(questions: readonly string[], options?: AskOptions): Promise<Answers>;
  vqa(question: string | readonly string[], options?: AskOptions): Promise<Answer | Answers> {
    return typeof question === "string"
      ? this.#model.vqa(this, question, options)
      : this.#model.vqa(this, question, options);
  }

  /** See `Model.rank`. */
  rank(question: string, candidates: readonly string[], options?: RankOptions): Promise<Ranking> {
    return this.#model.rank(this, question, candidates, options);
  }
}

/** Encoder states [depth, dv] -> what is injected, [rows, d]. */
async function projectedStates({ name, session }: ReadyAdapter, states: Tensor): Promise<Tensor> {
  const batch: Tensor = { ...states, shape: [1, ...states.shape] };
  const { perception } = await session.run({ cls_states: batch }, ["perception"]);
  if (!perception) throw new EpalmError("internal", `adapter '${name}': computed no perception`);
  return { ...perception, shape: perception.shape.slice(1) };
}

/** @throws invalid_option, in callers that no compiler checks */
function expectQuestions(questions: readonly string[]): void {
  const isList = Array.isArray(questions) && questions.length > 0;
  if (isList && questions.every((question) => typeof question === "string")) return;
  throw new EpalmError("invalid_option", "question: expected a text, or at least one of them in a list");
}

/** Answers to each question as one answer to all. */
function joined(questions: readonly string[], answers: readonly Answer[]): Answers {
  const [first] = answers;
  if (!first) throw new EpalmError("internal", "answers: expected at least one");
  const { model, adapter, modality } = first;
  const longest = (stage: keyof Timings) => Math.max(...answers.map(({ timings }) => timings[stage]));
  const sum = (count: keyof Usage) => answers.reduce((total, { usage }) => total + usage[count], 0);
  return {
    answers: answers.map(({ text, texts }, at) => ({ question: questions[at] ?? "", text, texts })),
    model,
    adapter,
    modality,
    usage: { promptTokens: sum("promptTokens"), newTokens: sum("newTokens") },
    timings: {
      media: longest("media"),
      encoder: longest("encoder"),
      adapter: longest("adapter"),
      decoder: longest("decoder"),
    },
  };
}

/** A call as a stream; `read` makes a piece of what came, as it is told. */
function stream<Piece, Result>(
  options: StreamOptions,
  call: (options: AskOptions) => Promise<Result>,
  read: (piece: AnswerPiece) => Piece,
): AnswerStream<Piece, Result> {
  if ("onText" in options && options.onText !== undefined) {
    throw new EpalmError("invalid_option", "options: expected no onText, a stream has pieces");
  }
  return new AnswerStream((left) => {
    const signal = options.signal ? AbortSignal.any([options.signal, left]) : left;
    return piecesOfCall((tell) => call({ ...options, signal, onText: (text, index) => tell(read({ index, text })) }));
  });
}

function textOf({ text }: AnswerPiece): string {
  return text;
}

/** An option that is undefined is one that was not given. */
function definedOnly<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
