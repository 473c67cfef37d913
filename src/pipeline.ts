import { join } from "node:path";
import type { Adapter } from "./adapter/adapter.js";
import { EpalmError } from "./errors.js";
import type { EngineCounts } from "./generation/engine.js";
import type { GenerationOptions } from "./generation/generation-options.js";
import type { RankingOptions } from "./generation/ranking.js";
import { RemoteTextGenerator } from "./generation/remote-text-generator.js";
import type { GeneratedText, Grounding, RankedText, TextRequest } from "./generation/text-generator.js";
import { encoderOf } from "./model/encoders.js";
import type { Manifest, TaskName } from "./model/manifest.js";
import { type ModelFolder, openModelFolder } from "./model/model-folder.js";
import { promptParts } from "./model/tasks.js";
import { type AdapterChanges, AdapterShelf, type ReadyAdapter } from "./perception/adapter-shelf.js";
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

export interface AskOptions extends GenerationOptions {
  /** Default: the first adapter of the folder that was trained for the task. */
  readonly adapter?: string | undefined;
  /** Leaves the picture out: its states are zeros. What it adds is the difference. Default false. */
  readonly blind?: boolean | undefined;
  /** Takes the request back; it then rejects with `aborted`. */
  readonly signal?: AbortSignal | undefined;
  /** Gets the text as it grows. With beams or several texts: all at once, at the end. */
  readonly onText?: ((piece: string) => void) | undefined;
}

export interface RankOptions extends RankingOptions {
  readonly adapter?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Milliseconds. */
export interface Timings {
  readonly media: number;
  readonly encoder: number;
  readonly adapter: number;
  readonly decoder: number;
}

export interface Answer {
  /** The best text. */
  readonly text: string;
  /** All texts, best first. */
  readonly texts: readonly GeneratedText[];
  readonly model: string;
  readonly adapter: string;
  readonly usage: { readonly promptTokens: number; readonly newTokens: number };
  readonly timings: Timings;
}

export interface Ranking {
  /** Best first; `probability` sums to 1 over all. */
  readonly answers: readonly RankedText[];
  readonly model: string;
  readonly adapter: string;
  readonly timings: Timings;
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
  const encoder = encoderOf(folder.manifest, "image");
  const session = { threads: options.threads, mapWeights: options.mapWeights };
  const thread = new SessionThread();
  const opening = RemoteTextGenerator.open({
    graph: join(path, decoder.graph),
    tokenizer: join(path, decoder.tokenizer),
    shape: decoder.shape,
    bounds: decoder,
    session,
  });
  try {
    const encoderSession = thread.open(join(path, encoder.graph), session);
    const [opened, generator] = await Promise.all([encoderSession, opening]);
    return new Model(folder, thread, opened, generator, options);
  } catch (error) {
    await Promise.allSettled([thread.close(), opening.then((generator) => generator.close())]);
    throw error;
  }
}

/** A loaded model folder: pictures and questions in, text out. Calls may run side by side; they share steps. */
export class Model {
  readonly #thread: SessionThread;
  readonly #generator: RemoteTextGenerator;
  readonly #perceiver: Perceiver;
  readonly #adapters: AdapterShelf;

  constructor(
    folder: ModelFolder,
    thread: SessionThread,
    encoder: Session,
    generator: RemoteTextGenerator,
    options: LoadOptions,
  ) {
    this.#thread = thread;
    this.#generator = generator;
    this.#perceiver = new Perceiver(encoderOf(folder.manifest, "image"), encoder, options);
    this.#adapters = new AdapterShelf(folder, thread);
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
  vqa(image: ImageInput, question: string, options: AskOptions = {}): Promise<Answer> {
    return this.#answer("vqa", image, question, options);
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
    const adapter = await this.#adapters.choose("vqa", "image", adapterName);
    const { grounding, timings } = await this.#ground(await this.perceive(image, signal), adapter);
    const started = performance.now();
    const answers = await this.#generator.rank({ ...request, grounding }, candidates, { ...ranking, signal });
    return {
      answers,
      model: this.manifest.name,
      adapter: adapter.name,
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
    return this.#generator.scoreText(text);
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
    const adapter = await this.#adapters.choose(task, "image", adapterName);
    const percept = blind ? this.#perceiver.blind() : await this.perceive(image, signal);
    const { grounding, timings } = await this.#ground(percept, adapter);
    const started = performance.now();
    const generation = this.#generationOptions(task, given);
    const result = await this.#generator.generate({ ...request, grounding }, generation, { signal, onText });
    return {
      text: result.texts[0]?.text ?? "",
      texts: result.texts,
      model: this.manifest.name,
      adapter: adapter.name,
      usage: { promptTokens: result.promptTokens, newTokens: result.newTokens },
      timings: { ...timings, decoder: performance.now() - started },
    };
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

  async #ground(
    percept: Percept,
    adapter: ReadyAdapter,
  ): Promise<{ grounding: Grounding; timings: Omit<Timings, "decoder"> }> {
    const started = performance.now();
    const states: Tensor = { ...percept.states, shape: [1, ...percept.states.shape] };
    const { perception } = await adapter.session.run({ cls_states: states }, ["perception"]);
    if (!perception) throw new EpalmError("internal", `adapter '${adapter.name}': computed no perception`);
    const projected: Tensor = { ...perception, shape: perception.shape.slice(1) };
    return {
      grounding: { perception: { states: projected, plan: adapter.plan }, softPrompt: adapter.softPrompt },
      timings: { ...percept.timings, adapter: performance.now() - started },
    };
  }

  /**
   * Takes an adapter that stands in no folder, under a name that requests can give; one of the same name is replaced
   * for requests to come.
   *
   * @throws invalid_adapter if it does not fit the model
   */
  async useAdapter(name: string, adapter: Adapter): Promise<void> {
    await this.#adapters.use(name, adapter, "image");
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
    return { encoder: this.#perceiver.counts, decoder: await this.#generator.counts() };
  }

  async close(): Promise<void> {
    await Promise.all([this.#thread.close(), this.#generator.close()]);
  }
}

/** An option that is undefined is one that was not given. */
function definedOnly<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
