import { join } from "node:path";
import type { Adapter } from "./adapter/adapter.js";
import { adapterGraph } from "./adapter/adapter-graph.js";
import { type InjectionPlan, injectionPlan } from "./adapter/injection-plan.js";
import { EpalmError } from "./errors.js";
import type { GenerationOptions } from "./generation/generation-options.js";
import type { RankingOptions } from "./generation/ranking.js";
import { RemoteTextGenerator } from "./generation/remote-text-generator.js";
import type { GeneratedText, Grounding, RankedText, TextRequest } from "./generation/text-generator.js";
import { encodeOnnx } from "./graph/onnx-writer.js";
import { decodeImage, type ImageLimits } from "./media/image.js";
import type { Manifest, TaskName } from "./model/manifest.js";
import {
  adapterWidths,
  checkFits,
  loadAdapter,
  type ModelFolder,
  openModelFolder,
} from "./model/model-folder.js";
import { promptParts } from "./model/tasks.js";
import { SessionThread } from "./runtime/remote-session.js";
import type { Session } from "./runtime/session.js";
import { elementCount, formatShape, sameShape, type Tensor } from "./tensor/tensor.js";

/** A picture: the path of a file, the bytes of one, or pixels that are prepared already, [3, height, width]. */
export type ImageInput = string | Uint8Array | { readonly pixels: Float32Array };

export interface LoadOptions {
  /** Compare the checksum of every file before it is used. Default true. */
  readonly checksums?: boolean | undefined;
  /** Threads that each graph computes with. Default: one per core. */
  readonly threads?: number | undefined;
  /** See `SessionOptions.mapWeights`. Default false. */
  readonly mapWeights?: boolean | undefined;
  /** What a picture may be at most. */
  readonly imageLimits?: ImageLimits | undefined;
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

/** An adapter that is ready: its projections as a session, its soft tokens computed. */
interface ReadyAdapter {
  readonly name: string;
  readonly plan: InjectionPlan;
  readonly session: Session;
  readonly softPrompt: Tensor;
}

/**
 * Opens a model folder. Graphs compute in threads of their own; nothing is fetched from anywhere.
 *
 * @throws not_found, invalid_model, invalid_adapter
 */
export async function load(path: string, options: LoadOptions = {}): Promise<Model> {
  const folder = await openModelFolder(path, { checksums: options.checksums });
  const { encoder, decoder } = folder.manifest;
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
  readonly manifest: Manifest;
  readonly #folder: ModelFolder;
  readonly #thread: SessionThread;
  readonly #encoder: Session;
  readonly #generator: RemoteTextGenerator;
  readonly #imageLimits: ImageLimits;
  readonly #adapters = new Map<string, Promise<ReadyAdapter>>();

  constructor(
    folder: ModelFolder,
    thread: SessionThread,
    encoder: Session,
    generator: RemoteTextGenerator,
    options: LoadOptions,
  ) {
    this.manifest = folder.manifest;
    this.#folder = folder;
    this.#thread = thread;
    this.#encoder = encoder;
    this.#generator = generator;
    this.#imageLimits = options.imageLimits ?? {};
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
    const adapter = await this.#adapter("vqa", adapterName);
    const { grounding, timings } = await this.#perceive(image, adapter);
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
    return (await this.#encode(await this.#pixels(image))).states;
  }

  /** Natural log-probability of each token of a text but the first, without a picture or an adapter. */
  scoreText(text: string): Promise<number[]> {
    return this.#generator.scoreText(text);
  }

  async close(): Promise<void> {
    await Promise.all([this.#thread.close(), this.#generator.close()]);
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
    const adapter = await this.#adapter(task, adapterName);
    const { grounding, timings } = await this.#perceive(image, adapter, blind);
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

  async #perceive(
    image: ImageInput,
    adapter: ReadyAdapter,
    blind = false,
  ): Promise<{ grounding: Grounding; timings: Omit<Timings, "decoder"> }> {
    const started = performance.now();
    const pixels = blind ? undefined : await this.#pixels(image);
    const decoded = performance.now();
    const batched = pixels ? (await this.#encode(pixels)).batched : this.#noStates();
    const encoded = performance.now();
    const { perception } = await adapter.session.run({ cls_states: batched }, ["perception"]);
    const [, ...shape] = perception?.shape ?? [];
    const states: Tensor = { type: "float32", shape, data: perception?.data ?? new Float32Array() };
    return {
      grounding: { perception: { states, plan: adapter.plan }, softPrompt: adapter.softPrompt },
      timings: {
        media: decoded - started,
        encoder: encoded - decoded,
        adapter: performance.now() - encoded,
      },
    };
  }

  async #pixels(image: ImageInput): Promise<Float32Array> {
    const { preprocessing, inputShape } = this.manifest.encoder;
    if (typeof image === "string" || image instanceof Uint8Array) {
      return decodeImage(image, preprocessing, this.#imageLimits);
    }
    if (image.pixels.length === elementCount(inputShape)) return image.pixels;
    throw new EpalmError(
      "invalid_option",
      `pixels: expected ${elementCount(inputShape)} numbers, ${formatShape(inputShape)}, got ${image.pixels.length}`,
    );
  }

  async #encode(pixels: Float32Array): Promise<{ batched: Tensor; states: Tensor }> {
    const { inputShape, depth, width } = this.manifest.encoder;
    const input: Tensor = { type: "float32", shape: [1, ...inputShape], data: pixels };
    const { cls_states: batched } = await this.#encoder.run({ pixels: input }, ["cls_states"]);
    if (!batched || !sameShape(batched.shape, [1, depth, width])) {
      throw new EpalmError("invalid_model", `encoder: expected states ${formatShape([1, depth, width])}`);
    }
    return { batched, states: { ...batched, shape: [depth, width] } };
  }

  /** Zeros: [1, depth, dv] */
  #noStates(): Tensor {
    const { depth, width } = this.manifest.encoder;
    return { type: "float32", shape: [1, depth, width], data: new Float32Array(depth * width) };
  }

  #adapter(task: TaskName, name: string | undefined): Promise<ReadyAdapter> {
    const entries = Object.entries(this.manifest.adapters);
    const chosen = name ?? entries.find(([, { tasks }]) => tasks.includes(task))?.[0];
    if (chosen === undefined) {
      return Promise.reject(new EpalmError("not_found", `the model has no adapter for ${task}`));
    }
    const known = this.#adapters.get(chosen) ?? this.#openAdapter(chosen);
    this.#adapters.set(chosen, known);
    known.catch(() => this.#adapters.delete(chosen));
    return known;
  }

  /**
   * Takes an adapter that stands in no folder, under a name that requests can give; one of the same name is replaced
   * for requests to come.
   *
   * @throws invalid_adapter if it does not fit the model
   */
  async useAdapter(name: string, adapter: Adapter): Promise<void> {
    checkFits(adapter, this.manifest, `adapter '${name}'`);
    this.#adapters.set(name, Promise.resolve(await this.#ready(name, adapter)));
  }

  async #openAdapter(name: string): Promise<ReadyAdapter> {
    return this.#ready(name, await loadAdapter(this.#folder, name));
  }

  async #ready(name: string, adapter: Adapter): Promise<ReadyAdapter> {
    const { encoder, decoder } = this.manifest;
    const plan = injectionPlan(adapter.settings, decoder.shape.layers);
    const graph = adapterGraph(adapter, adapterWidths(this.manifest), encoder.depth);
    const session = await this.#thread.open(encodeOnnx(graph));
    const { soft_prompt: softPrompt } = await session.run({ cls_states: this.#noStates() }, ["soft_prompt"]);
    if (!softPrompt) throw new EpalmError("internal", `adapter '${name}': no soft prompt was computed`);
    return { name, plan, session, softPrompt };
  }
}

/** An option that is undefined is one that was not given. */
function definedOnly<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
