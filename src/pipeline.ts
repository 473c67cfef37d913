import { join } from "node:path";
import type { Adapter } from "./adapter/adapter.js";
import { type AnswerPiece, AnswerStream, piecesOfCall } from "./answer-stream.js";
import type { Modality } from "./backbones/backbone.js";
import { EpalmError } from "./errors.js";
import type { EngineCounts } from "./generation/engine.js";
import type { GenerationOptions } from "./generation/generation-options.js";
import type { RankingOptions } from "./generation/ranking.js";
import { RemoteTextGenerator } from "./generation/remote-text-generator.js";
import type { GeneratedText, Grounding, RankedText, TextRequest } from "./generation/text-generator.js";
import { encoderOf } from "./model/encoders.js";
import type { Manifest, TaskName } from "./model/manifest.js";
import { openModelFolder } from "./model/model-folder.js";
import { promptParts } from "./model/tasks.js";
import { type AdapterChanges, AdapterShelf } from "./perception/adapter-shelf.js";
import { MediaThread } from "./perception/media-thread.js";
import {
  type ImageInput,
  Perceiver,
  type PerceiverCounts,
  type PerceiverOptions,
  type Percept,
} from "./perception/perceiver.js";
import { SessionThread } from "./runtime/remote-session.js";
import type { Session } from "./runtime/session.js";
import type { Tensor } from "./tensor/tensor.js";

export interface LoadOptions extends PerceiverOptions {
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
  /** Leaves the picture out: its states are zeros. What it adds is the difference. Default false. */
  readonly blind?: boolean | undefined;
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
  readonly signal?: AbortSignal | undefined;
}

/** Encoders of other modalities can be built; what feeds them is not joined to them yet. */
const PERCEIVED = "image";

/** Milliseconds. */
export interface Timings {
  readonly media: number;
  readonly encoder: number;
  readonly adapter: number;
  readonly decoder: number;
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

/** Answers to several questions about one picture. */
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
  readonly encoder: PerceiverCounts;
  readonly decoder: EngineCounts;
}

/**
 * Opens a model folder. Graphs compute in threads of their own; nothing is fetched from anywhere.
 *
 * @throws not_found, invalid_model, invalid_adapter; invalid_option for a model without an encoder of pictures
 */
export async function load(path: string, options: LoadOptions = {}): Promise<Model> {
  const folder = await openModelFolder(path, { checksums: options.checksums });
  const { decoder } = folder.manifest;
  const encoder = encoderOf(folder.manifest, PERCEIVED);
  const session = { threads: options.threads, mapWeights: options.mapWeights };
  const thread = new SessionThread();
  const media = new MediaThread();
  const opening = RemoteTextGenerator.open({
    graph: join(path, decoder.graph),
    tokenizer: join(path, decoder.tokenizer),
    shape: decoder.shape,
    bounds: decoder,
    session,
  });
  try {
    const [opened, adapters, generator] = await Promise.all([
      thread.open(join(path, encoder.graph), session),
      AdapterShelf.open(folder, thread),
      opening,
    ]);
    return new Model(adapters, { sessions: thread, media, generator }, opened, options);
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

/** A loaded model folder: pictures and questions in, text out. Calls may run side by side; they share steps. */
export class Model {
  readonly #threads: ModelThreads;
  readonly #perceiver: Perceiver;
  readonly #adapters: AdapterShelf;

  constructor(adapters: AdapterShelf, threads: ModelThreads, encoder: Session, options: LoadOptions) {
    this.#threads = threads;
    this.#perceiver = new Perceiver(encoderOf(adapters.manifest, PERCEIVED), threads.media, encoder, options);
    this.#adapters = adapters;
  }

  /** What it takes, whatever other encoders its folder has. */
  get modality(): Modality {
    return PERCEIVED;
  }

  /** As it was when the folder was opened or its adapters were last read again. */
  get manifest(): Manifest {
    return this.#adapters.manifest;
  }

  /** Says what is in a picture. */
  caption(image: ImageInput, options: AskOptions = {}): Promise<Answer> {
    return this.#answer("caption", image, undefined, options);
  }

  /** Answers a question about a picture. */
  async vqa(image: ImageInput, question: string, options?: AskOptions): Promise<Answer>;
  /** Answers several questions about the same picture, which is then encoded once. */
  async vqa(image: ImageInput, questions: readonly string[], options?: AskOptions): Promise<Answers>;
  async vqa(
    image: ImageInput,
    question: string | readonly string[],
    options: AskOptions = {},
  ): Promise<Answer | Answers> {
    if (typeof question !== "string") return this.#answerAll(image, question, options);
    return this.#answer("vqa", image, question, options);
  }

  /** Says what is in a picture, piece by piece. */
  streamCaption(image: ImageInput, options: StreamOptions = {}): AnswerStream<string, Answer> {
    return stream(options, (call: AskOptions) => this.caption(image, call), textOf);
  }

  /** Answers a question about a picture, piece by piece. */
  streamVqa(image: ImageInput, question: string, options?: StreamOptions): AnswerStream<string, Answer>;
  /** Answers several questions at once: each piece says whose it is. */
  streamVqa(
    image: ImageInput,
    questions: readonly string[],
    options?: StreamOptions,
  ): AnswerStream<AnswerPiece, Answers>;
  streamVqa(
    image: ImageInput,
    question: string | readonly string[],
    options: StreamOptions = {},
  ): AnswerStream<string, Answer> | AnswerStream<AnswerPiece, Answers> {
    return typeof question === "string"
      ? stream(options, (call: AskOptions) => this.vqa(image, question, call), textOf)
      : stream(
          options,
          (call: AskOptions) => this.vqa(image, question, call),
          (piece) => piece,
        );
  }

  /** Orders given answers to a question about a picture by how probable the model finds them. */
  async rank(
    image: ImageInput,
    question: string,
    candidates: readonly string[],
    options: RankOptions = {},
  ): Promise<Ranking> {
    const { adapter: adapterName, signal, ...ranking } = options;
    const request = this.#request("vqa", question);
    const { grounding, timings, adapter } = await this.#ground("vqa", adapterName, () =>
      this.perceive(image, signal),
    );
    const started = performance.now();
    const result = await this.#threads.generator.rank({ ...request, grounding }, candidates, {
      ...ranking,
      signal,
    });
    return {
      answers: result.answers,
      model: this.manifest.name,
      adapter,
      modality: this.modality,
      usage: { promptTokens: result.promptTokens, newTokens: 0 },
      timings: { ...timings, decoder: performance.now() - started },
    };
  }

  /** The encoder's normed [CLS] states of a picture: [depth, dv], first block first. */
  async encode(image: ImageInput): Promise<Tensor> {
    return (await this.perceive(image)).states;
  }

  /**
   * Decodes and encodes a picture once, for several questions about it: what comes back can stand for the picture in
   * every call.
   */
  perceive(image: ImageInput, signal?: AbortSignal): Promise<Percept> {
    return this.#perceiver.perceive(image, signal);
  }

  /** Natural log-probability of each token of a text but the first, without a picture or an adapter. */
  scoreText(text: string): Promise<number[]> {
    return this.#threads.generator.scoreText(text);
  }

  async #answer(
    task: TaskName,
    image: ImageInput,
    question: string | undefined,
    options: AskOptions,
  ): Promise<Answer> {
    const { adapter: adapterName, blind = false, signal, onText, ...rest } = options;
    const given: GenerationOptions = definedOnly(rest);
    const request = this.#request(task, question);
    const { grounding, timings, adapter } = await this.#ground(task, adapterName, async () =>
      blind ? this.#perceiver.blind() : this.perceive(image, signal),
    );
    const started = performance.now();
    const generation = this.#generationOptions(task, given);
    const result = await this.#threads.generator.generate({ ...request, grounding }, generation, {
      signal,
      onText: onText && ((piece) => onText(piece, 0)),
    });
    return {
      text: result.texts[0]?.text ?? "",
      texts: result.texts,
      model: this.manifest.name,
      adapter,
      modality: this.modality,
      usage: { promptTokens: result.promptTokens, newTokens: result.newTokens },
      timings: { ...timings, decoder: performance.now() - started },
    };
  }

  /** Questions side by side; one that fails takes the others back. */
  async #answerAll(image: ImageInput, questions: readonly string[], options: AskOptions): Promise<Answers> {
    expectQuestions(questions);
    const { signal, onText } = options;
    const percept = options.blind ? image : await this.perceive(image, signal);
    const failure = new AbortController();
    const asking = questions.map((question, index) =>
      this.#answer("vqa", percept, question, {
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

  #request(task: TaskName, question: string | undefined): Omit<TextRequest, "grounding"> {
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

  /** What an adapter makes of a picture; whether there is such an adapter is known before the picture is looked at. */
  #ground(
    task: TaskName,
    adapterName: string | undefined,
    perceive: () => Promise<Percept>,
  ): Promise<{ grounding: Grounding; timings: Omit<Timings, "decoder">; adapter: string }> {
    return this.#adapters.lend(
      { task, modality: this.modality, name: adapterName },
      async ({ name, session, plan, softPrompt }) => {
        const percept = await perceive();
        const started = performance.now();
        const states: Tensor = { ...percept.states, shape: [1, ...percept.states.shape] };
        const { perception } = await session.run({ cls_states: states }, ["perception"]);
        if (!perception) throw new EpalmError("internal", `adapter '${name}': computed no perception`);
        const projected: Tensor = { ...perception, shape: perception.shape.slice(1) };
        return {
          grounding: { perception: { states: projected, plan }, softPrompt },
          timings: { ...percept.timings, adapter: performance.now() - started },
          adapter: name,
        };
      },
    );
  }

  /**
   * Takes an adapter that stands in no folder, under a name that requests can give; one of the same name is replaced
   * for requests to come.
   *
   * @throws invalid_adapter if it does not fit the model
   */
  async useAdapter(name: string, adapter: Adapter): Promise<void> {
    await this.#adapters.use(name, adapter, this.modality);
  }

  /**
   * Reads the folder's manifest again and takes what changed about its adapters, and adapter files that lie in
   * `adapters/` without being in the manifest: for both tasks, under the name of the file. Those that are damaged or do
   * not fit are reported, and what ran under their name before goes on.
   *
   * @throws not_found or invalid_model if the manifest cannot be read or is now another model's
   */
  refreshAdapters(): Promise<AdapterChanges> {
    return this.#adapters.refresh();
  }

  /** What the encoder and the decoder did so far. */
  async counts(): Promise<ModelCounts> {
    return { encoder: this.#perceiver.counts, decoder: await this.#threads.generator.counts() };
  }

  async close(): Promise<void> {
    const { sessions, media, generator } = this.#threads;
    await Promise.all([sessions.close(), media.close(), generator.close()]);
  }
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
    return piecesOfCall((tell) =>
      call({ ...options, signal, onText: (text, index) => tell(read({ index, text })) }),
    );
  });
}

function textOf({ text }: AnswerPiece): string {
  return text;
}

/** An option that is undefined is one that was not given. */
function definedOnly<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
