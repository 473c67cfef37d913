import { join } from "node:path";
import type { Adapter } from "./adapter/adapter.js";
import type { Calibration } from "./adapter/calibration.js";
import { answerProbability, type ConfidenceMap, captionProbability, confidenceOf } from "./adapter/confidence.js";
import { familiarityOf } from "./adapter/familiarity.js";
import { type AnswerPiece, AnswerStream, piecesOfCall } from "./core/answer-stream.js";
import type { DeviceChoice } from "./core/device.js";
import { EpalmError, unexpected } from "./core/errors.js";
import type { Modality } from "./core/modality.js";
import { addSpan, attribute } from "./core/trace.js";
import type { PatchChoice } from "./encoding/encoder-batcher.js";
import {
  type EncoderOutput,
  MediaEncoder,
  type MediaEncoderCounts,
  type MediaEncoderOptions,
  type MediumInput,
} from "./encoding/media-encoder.js";
import { MediaThread } from "./encoding/media-thread.js";
import { readMedium } from "./encoding/read-medium.js";
import type { DecodingReport, EngineCounts } from "./generation/engine.js";
import type { GenerationOptions } from "./generation/options.js";
import type { RankingOptions } from "./generation/ranking.js";
import type { RequestOrigin } from "./generation/request-origin.js";
import type { Conditioning, GeneratedText, RankedText, TextRequest } from "./generation/text-generator.js";
import { RemoteTextGenerator } from "./generation/text-generator-thread.js";
import { type AdapterChanges, AdapterRegistry, type ReadyAdapter } from "./model/adapter-registry.js";
import { type ChatMessage, renderConversation } from "./model/conversation.js";
import { encodersOf, modalitiesOf } from "./model/encoders.js";
import { type EncoderManifest, type Manifest, type TaskName, UNFAMILIAR_BELOW } from "./model/manifest.js";
import { openModelFolder } from "./model/model-folder.js";
import { type ModelDevices, type ModelPlacement, placeModel } from "./model/place-model.js";
import { promptParts } from "./model/tasks.js";
import type { Placement } from "./runtime/device.js";
import { openNowOrLater } from "./runtime/lazy-session.js";
import type { Session, SessionOptions } from "./runtime/session.js";
import { SessionThread } from "./runtime/session-thread.js";
import type { ThreadHealth } from "./runtime/thread.js";
import { turnsOf } from "./runtime/turns.js";
import { floats, type Tensor } from "./tensor/tensor.js";

/** Options of `load`. */
export interface LoadOptions extends MediaEncoderOptions {
  /** Whether the checksum of every file is verified before it is used. Default: true. */
  readonly checksums?: boolean | undefined;
  /**
   * Where the encoders and the decoder are computed: one value for both, or one for each. Default: `EPALM_DEVICE`, or
   * else `cpu`.
   */
  readonly device?: DeviceChoice | ModelDevices | undefined;
  /** Threads per graph. Default: `EPALM_THREADS`, or else one per core. */
  readonly threads?: number | undefined;
  /**
   * An existing folder to which ONNX Runtime writes a profile of the first run of each graph, in JSON: the time of each
   * operator, and the provider that computed it. Default: no profiles.
   */
  readonly profileTo?: string | undefined;
  /** See `SessionOptions.mapWeights`. Default: false. */
  readonly mapWeights?: boolean | undefined;
  /**
   * Whether encoders and adapters are opened when the first medium needs them. A program that answers about one file
   * then starts sooner; the first client of a service would wait longer. Default: false, all are opened now.
   */
  readonly lazy?: boolean | undefined;
}

/** When a model does not answer, and what it reports about its answers. */
export interface TrustOptions {
  /** Rejects media that are unlike those of the adapter's training with `unfamiliar`. Default: false. */
  readonly refuseUnfamiliar?: boolean | undefined;
  /**
   * Answers with a smaller `confidence`, 0 to 1, are replaced by `abstention`. They are then not streamed.
   * Default: all answers are given.
   */
  readonly minConfidence?: number | undefined;
  /** Default: "I do not know." */
  readonly abstention?: string | undefined;
  /** Also computes what the medium contributed to the answer; see `Answer.mediaGain`. Default: false. */
  readonly mediaGain?: boolean | undefined;
}

/** Default of `TrustOptions.abstention`. */
export const ABSTENTION = "I do not know.";

/** Options of a streamed caption request or question. */
export interface StreamOptions extends GenerationOptions, RequestOrigin, TrustOptions {
  /** Default: the first adapter of the folder that was trained for the task and the modality. */
  readonly adapter?: string | undefined;
  /** The modality as which the medium is interpreted. Default: that of the named adapter, otherwise detected. */
  readonly modality?: Modality | undefined;
  /** Replaces the encoder states with zeros, which shows what the medium contributes. Default: false. */
  readonly textOnly?: boolean | undefined;
  /** Cancels the request, which then rejects with `aborted`. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of a caption request or a question. */
export interface AskOptions extends StreamOptions {
  /**
   * Receives each new piece of the text and the index of the question that it answers. With beam search or several
   * texts, the whole text arrives at the end.
   */
  readonly onText?: ((piece: string, index: number) => void) | undefined;
}

/** Options of `Model.rank`. */
export interface RankOptions extends RankingOptions, RequestOrigin, TrustOptions {
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

/** Options of `Model.encode`. */
export interface EncodeOptions {
  /** The modality as which the medium is interpreted. Default: that of the named adapter, otherwise detected. */
  readonly modality?: Modality | undefined;
  /** The adapter of later requests; rejected before the medium is read if it is unknown or takes another modality. */
  readonly adapter?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The options that determine an answer's conditioning: its adapter and its medium. */
type ConditioningOptions = Pick<StreamOptions, "adapter" | "modality" | "textOnly" | "signal" | keyof TrustOptions>;

/** The conditioning that an adapter computed from a medium, with its source. */
interface Conditioned {
  readonly conditioning: Conditioning;
  /** The conditioning without the medium, if it is needed. */
  readonly blank: Conditioning | undefined;
  readonly confidence: Calibration["confidence"];
  readonly source: Omit<Source, "timings"> & { readonly timings: Omit<Timings, "decoder"> };
}

/** The model and the adapter that gave an answer, and the time it took. */
interface Source {
  readonly model: string;
  readonly adapter: string;
  readonly modality: Modality;
  /**
   * The share of validation examples that are less typical of the adapter's domain than the medium, 0 to 1. Absent if
   * the adapter contains no summary of its training media, which `epalm calibrate` adds.
   */
  readonly familiarity?: number | undefined;
  /** Whether `familiarity` is below the threshold of the manifest: the adapter has not seen media like this one. */
  readonly unfamiliar?: boolean | undefined;
  /** Several questions run at the same time, so the longest duration of each stage is reported. */
  readonly timings: Timings;
}

interface Usage {
  /** Tokens of the text, and visual tokens. */
  readonly promptTokens: number;
  readonly newTokens: number;
}

/** How far an answer can be trusted. */
export interface Trust {
  /** The share of answers with this probability that were correct on calibration data; absent without calibration. */
  readonly confidence?: number | undefined;
  /** True if the answer was replaced because its confidence is below `minConfidence`. */
  readonly abstained?: true | undefined;
  /**
   * With the option `mediaGain`: natural log-probability of the answer with the medium minus that without it. About 0
   * if the answer comes from the language model alone.
   */
  readonly mediaGain?: number | undefined;
}

/** One of the texts of an answer. */
export interface AnswerText extends GeneratedText {
  readonly confidence?: number | undefined;
}

/** The response to one caption request or one question. */
export interface Answer extends Source, Trust {
  /** The best text. */
  readonly text: string;
  /** All texts, best first. */
  readonly texts: readonly AnswerText[];
  readonly usage: Usage;
}

/** Answers to several questions about one medium. */
export interface Answers extends Source {
  /** In the order of the questions. */
  readonly answers: readonly (Trust & {
    readonly question: string;
    readonly text: string;
    readonly texts: readonly AnswerText[];
  })[];
  /** Sums over all answers. */
  readonly usage: Usage;
}

/** Candidates ordered by their probability. */
export interface Ranking extends Source {
  /** Best first. The values of `probability` sum to 1. */
  readonly answers: readonly (RankedText & Omit<Trust, "abstained">)[];
  /** True if the confidence of the best candidate is below `minConfidence`. */
  readonly abstained?: true | undefined;
  /** `promptTokens` includes the tokens of the candidates, because none are generated; `newTokens` is 0. */
  readonly usage: Usage;
}

/** Counters since the model was loaded. */
export interface ModelCounts {
  readonly encoder: MediaEncoderCounts;
  readonly decoder: EngineCounts;
}

/**
 * Opens a model folder. The graphs run in worker threads. Nothing is downloaded.
 *
 * @throws not_found, invalid_model, invalid_adapter; invalid_option if a device does not work on this machine
 *
 * @example
 * ```ts
 * import { load } from "epalm";
 * const model = await load("my-model");
 * const { text } = await model.caption("photo.jpg");
 * await model.close();
 * ```
 */
export async function load(path: string, options: LoadOptions = {}): Promise<Model> {
  // The threads load their code while this one reads the folder.
  const [sessions, media, generator] = [new SessionThread(), new MediaThread(), new RemoteTextGenerator()];
  try {
    const folder = await openModelFolder(path, { checksums: options.checksums });
    const { decoder } = folder.manifest;
    const placement = await placeModel(folder.manifest, options.device, (model, own) => sessions.open(model, own));
    const sessionOf = (name: "encoder" | "decoder") => sessionOptions(name, placement[name], options);
    if (modalitiesOf(folder.manifest).includes("image")) media.warmUp();
    const opening = generator.open({
      graph: join(path, decoder.graph),
      tokenizer: join(path, decoder.tokenizer),
      shape: decoder.shape,
      specialTokens: { bosTokenId: decoder.startToken, eosTokenIds: decoder.endTokens },
      session: sessionOf("decoder"),
    });
    // It is awaited below; until then, a failure must not count as unhandled, which would end the process.
    opening.catch(() => undefined);
    const adapters = await AdapterRegistry.open(folder, sessions, options);
    const openGraph = (graph: string) => sessions.open(join(path, graph), sessionOf("encoder"));
    const openEncoder = async (encoder: EncoderManifest) => {
      const patches = patchChoice(encoder, adapters.patchDepths(encoder.modality));
      const graph = patches && encoder.patches ? encoder.patches.graph : encoder.graph;
      return { encoder, patches, session: await openNowOrLater(() => openGraph(graph), options) };
    };
    const encoders = await Promise.all(encodersOf(folder.manifest).map(openEncoder));
    await opening;
    const mediaEncoder = new MediaEncoder(media, encoders, options);
    return new Model(adapters, { sessions, media, generator, openGraph }, mediaEncoder, placement);
  } catch (error) {
    await Promise.allSettled([sessions.close(), media.close(), generator.close()]);
    throw error;
  }
}

/** A device computes its graphs in turn, because they would slow each other down. */
function sessionOptions(
  name: string,
  { device }: Placement,
  { threads, mapWeights, profileTo }: LoadOptions,
): SessionOptions {
  const profile = profileTo === undefined ? {} : { profileTo: join(profileTo, name) };
  return { device, threads, mapWeights, turns: turnsOf(device), ...profile };
}

/** The patch states that an encoder must return for its adapters; undefined if they take none. */
function patchChoice({ patches }: EncoderManifest, depths: number): PatchChoice | undefined {
  return patches && depths > 0 ? { layout: patches, depths } : undefined;
}

/** The worker threads of a model. */
interface ModelThreads {
  readonly sessions: SessionThread;
  readonly media: MediaThread;
  readonly generator: RemoteTextGenerator;
  /** Opens a graph of the model folder among the sessions. */
  openGraph(graph: string): Promise<Session>;
}

/**
 * A loaded model folder, which answers questions about media. Concurrent calls are batched into the same steps.
 *
 * @example
 * ```ts
 * import { load, type Model } from "epalm";
 * async function describe(model: Model, photo: Uint8Array): Promise<string> {
 *   const medium = await model.encode(photo);
 *   const { text } = await medium.caption({ maxNewTokens: 20 });
 *   const { answers } = await medium.rank("is it day or night?", ["day", "night"]);
 *   return `${text} (${answers[0]?.text})`;
 * }
 * await describe(await load("my-model"), new Uint8Array());
 * ```
 */
export class Model {
  readonly #threads: ModelThreads;
  readonly #encoder: MediaEncoder;
  readonly #adapters: AdapterRegistry;
  #isClosed = false;

  /** Where the encoders and the decoder are computed. */
  readonly devices: ModelPlacement;

  constructor(adapters: AdapterRegistry, threads: ModelThreads, mediaEncoder: MediaEncoder, devices: ModelPlacement) {
    this.devices = devices;
    this.#threads = threads;
    this.#encoder = mediaEncoder;
    this.#adapters = adapters;
  }

  /** The supported modalities, in the order of the encoders. */
  get modalities(): readonly Modality[] {
    return modalitiesOf(this.manifest);
  }

  /** The manifest as of the opening of the folder or the last `refreshAdapters`. */
  get manifest(): Manifest {
    return this.#adapters.manifest;
  }

  /** Describes an image, an audio file or a video. */
  caption(medium: MediumInput, options: AskOptions = {}): Promise<Answer> {
    return this.#answer("caption", medium, this.#request("caption", undefined), options);
  }

  /**
   * Answers the last message of a conversation about a medium, as the model's chat template writes it. The adapter is
   * that for questions.
   *
   * @throws invalid_option, naming `messages`, if the model has no chat template or the template rejects them
   */
  async chat(medium: MediumInput, messages: readonly ChatMessage[], options: AskOptions = {}): Promise<Answer> {
    const { conversation, name } = this.manifest;
    if (!conversation) throw unexpected("invalid_option", "messages", "a model with a chat template", name);
    const { parts } = renderConversation(conversation, messages);
    const hasVqa = Object.values(this.manifest.adapters).some(({ tasks }) => tasks.includes("vqa"));
    const request = { prompt: parts, answerPrefix: "", textField: "messages" };
    return this.#answer(hasVqa ? "vqa" : "caption", medium, request, options);
  }

  /** Answers a question about a medium. */
  async vqa(medium: MediumInput, question: string, options?: AskOptions): Promise<Answer>;
  /** Answers several questions about the same medium, which is encoded only once. */
  async vqa(medium: MediumInput, questions: readonly string[], options?: AskOptions): Promise<Answers>;
  async vqa(
    medium: MediumInput,
    question: string | readonly string[],
    options: AskOptions = {},
  ): Promise<Answer | Answers> {
    if (typeof question !== "string") return this.#answerAll(medium, question, options);
    return this.#answer("vqa", medium, this.#request("vqa", question), options);
  }

  /** Streams a description of a medium, piece by piece. */
  streamCaption(medium: MediumInput, options: StreamOptions = {}): AnswerStream<string, Answer> {
    return stream(options, (call: AskOptions) => this.caption(medium, call), textOf);
  }

  /** Streams the answer to a question about a medium, piece by piece. */
  streamVqa(medium: MediumInput, question: string, options?: StreamOptions): AnswerStream<string, Answer>;
  /** Streams the answers to several questions at the same time; each piece has the index of its question. */
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

  /** Orders candidate answers to a question about a medium by their probability under the model. */
  async rank(
    medium: MediumInput,
    question: string,
    candidates: readonly string[],
    options: RankOptions = {},
  ): Promise<Ranking> {
    const { signal, client, priority, normalisation, minConfidence } = options;
    const request = this.#request("vqa", question);
    const { conditioning, blank, confidence, source } = await this.#condition("vqa", medium, options);
    // Confidences are calibrated for the default score.
    const map = normalisation === "mean" ? undefined : confidence?.candidates;
    expectConfidence(map, minConfidence, source.adapter);
    const started = performance.now();
    const control = { ...(normalisation ? { normalisation } : {}), signal, origin: { client, priority } };
    const [result, without] = await Promise.all(
      [conditioning, blank].map((one) =>
        one
          ? tracedDecoding(source, () =>
              this.#threads.generator.rank({ ...request, conditioning: one }, candidates, control),
            )
          : undefined,
      ),
    );
    if (!result) throw new EpalmError("internal", "ranking: expected a result");
    const answers = result.answers.map((answer) => ({
      ...answer,
      ...(map ? { confidence: confidenceOf(map, answer.probability) } : {}),
      ...gainOver(answer, without?.answers),
    }));
    return {
      answers,
      ...abstentionOf(answers[0]?.confidence, minConfidence),
      ...source,
      usage: { promptTokens: result.promptTokens, newTokens: 0 },
      timings: { ...source.timings, decoder: performance.now() - started },
    };
  }

  /** Decodes and encodes a medium once, for any number of captions and answers. */
  async encode(medium: MediumInput, options: EncodeOptions = {}): Promise<EncodedMedium> {
    return new EncodedMedium(this, await this.#encode(medium, options));
  }

  #encode(medium: MediumInput, options: EncodeOptions): Promise<EncoderOutput> {
    this.#expectOpen();
    return this.#encoder.encode(medium, this.#knownModality(options), options.signal);
  }

  /** Natural log-probability of each token of a text except the first, without a medium or an adapter. */
  async scoreText(text: string): Promise<number[]> {
    this.#expectOpen();
    return this.#threads.generator.scoreText(text);
  }

  async #answer(
    task: TaskName,
    medium: MediumInput,
    request: Omit<TextRequest, "conditioning">,
    options: AskOptions,
  ): Promise<Answer> {
    const {
      adapter: _adapter,
      modality: _modality,
      textOnly: _blind,
      refuseUnfamiliar: _refuses,
      mediaGain: _gain,
      minConfidence,
      abstention = ABSTENTION,
      signal,
      onText,
      client,
      priority,
      ...rest
    } = options;
    const given: GenerationOptions = definedOnly(rest);
    const { conditioning, blank, confidence, source } = await this.#condition(task, medium, options);
    const map = confidence?.[task === "vqa" ? "answers" : "captions"];
    expectConfidence(map, minConfidence, source.adapter);
    const started = performance.now();
    const generation = this.#generationOptions(task, given);
    const origin = { client, priority };
    const result = await tracedDecoding(source, () =>
      this.#threads.generator.generate({ ...request, conditioning }, generation, {
        signal,
        onText: onText && minConfidence === undefined ? (piece) => onText(piece, 0) : undefined,
        origin,
        shortens: given.maxNewTokens === undefined,
      }),
    );
    const texts: AnswerText[] = result.texts.map((text) =>
      map ? { ...text, confidence: confidenceOfText(map, task, text) } : text,
    );
    const [best] = texts;
    const trust = abstentionOf(best?.confidence, minConfidence);
    const text = trust.abstained ? abstention : (best?.text ?? "");
    if (minConfidence !== undefined) onText?.(text, 0);
    const gain =
      blank && best ? await this.#mediaGain(request, best.text, [conditioning, blank], { signal, origin }) : {};
    return {
      text,
      texts,
      ...(best?.confidence === undefined ? {} : { confidence: best.confidence }),
      ...trust,
      ...gain,
      ...source,
      usage: { promptTokens: result.promptTokens, newTokens: result.newTokens },
      timings: { ...source.timings, decoder: performance.now() - started },
    };
  }

  /** Answers the questions concurrently; if one fails, the others are cancelled. */
  async #answerAll(medium: MediumInput, questions: readonly string[], options: AskOptions): Promise<Answers> {
    expectQuestions(questions);
    const { adapter, modality, signal, onText } = options;
    // A stream can be read only once, but there are several questions.
    const encoded = options.textOnly
      ? await readMedium(medium, signal)
      : await this.#encode(medium, { adapter, modality, signal });
    const failure = new AbortController();
    const asking = questions.map((question, index) =>
      this.#answer("vqa", encoded, this.#request("vqa", question), {
        ...options,
        // One signal per question: Node warns about a leak if one signal has many listeners.
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
      ...(task === "vqa" ? { textField: "question" } : {}),
    };
  }

  /** Adds the task's defaults; those of beam search only if the request does not sample. */
  #generationOptions(task: TaskName, given: GenerationOptions): GenerationOptions {
    const { beams, lengthPenalty, maxNewTokens } = this.manifest.tasks[task].generation;
    const draws = (given.temperature ?? 0) > 0;
    const searches = !draws && (given.beams ?? beams ?? 1) > 1;
    return { maxNewTokens, ...(draws ? {} : { beams }), ...(searches ? { lengthPenalty } : {}), ...given };
  }

  /** Computes the conditioning. If the modality is known, a missing adapter is reported before the medium is read. */
  async #condition(task: TaskName, medium: MediumInput, options: ConditioningOptions): Promise<Conditioned> {
    this.#expectOpen();
    const { adapter: name, textOnly = false, signal, mediaGain = false } = options;
    const known = this.#knownModality(options);
    const detected = known === undefined ? await this.#encode(medium, { signal }) : undefined;
    const modality = detected?.modality ?? known ?? this.manifest.encoder.modality;
    return this.#adapters.acquire({ task, modality, name }, async (adapter) => {
      const encoded = textOnly
        ? this.#encoder.zeroStates(modality)
        : (detected ?? (await this.#encode(medium, { modality, signal })));
      const started = performance.now();
      const familiarity = textOnly ? {} : this.#familiarity(adapter, encoded, options);
      const [conditioning, blank] = await Promise.all([
        conditioningOf(adapter, encoded),
        mediaGain ? conditioningOf(adapter, this.#encoder.zeroStates(modality)) : undefined,
      ]);
      const timings = { ...encoded.timings, adapter: performance.now() - started };
      return {
        conditioning,
        blank,
        confidence: adapter.calibration?.confidence,
        source: { model: this.manifest.name, adapter: adapter.name, modality, ...familiarity, timings },
      };
    });
  }

  /** @throws unfamiliar */
  #familiarity(
    { name, calibration }: ReadyAdapter,
    { states }: EncoderOutput,
    { refuseUnfamiliar = false }: TrustOptions,
  ): Pick<Source, "familiarity" | "unfamiliar"> {
    if (!calibration?.familiarity) return {};
    const familiarity = familiarityOf(calibration.familiarity, floats(states));
    const unfamiliar = familiarity < (this.manifest.unfamiliarBelow ?? UNFAMILIAR_BELOW);
    if (!unfamiliar || !refuseUnfamiliar) return { familiarity, unfamiliar };
    const message = `media: adapter '${name}' was not trained on media like this one (familiarity ${familiarity.toFixed(4)})`;
    throw new EpalmError("unfamiliar", message);
  }

  /** Log-probability of an answer with the medium minus that without it, computed in the same batch. */
  async #mediaGain(
    request: Omit<TextRequest, "conditioning">,
    text: string,
    conditionings: readonly Conditioning[],
    control: { readonly signal: AbortSignal | undefined; readonly origin: RequestOrigin },
  ): Promise<Pick<Trust, "mediaGain">> {
    if (text.trim() === "") return {};
    const [own, without] = await Promise.all(
      conditionings.map((conditioning) => this.#threads.generator.rank({ ...request, conditioning }, [text], control)),
    );
    return own?.answers[0] ? gainOver(own.answers[0], without?.answers) : {};
  }

  /**
   * The modality of a medium if it is known without examining the content; otherwise undefined.
   *
   * @throws invalid_option for a modality that the model does not support or an adapter of another modality
   * @throws not_found for an unknown adapter
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
   * Adds an adapter that is not stored in the model folder. An adapter of the same name is replaced for later requests.
   *
   * @param name the name by which requests select it
   * @param modality modality of the encoder whose states the adapter takes. Default: that of the model's first encoder
   * @throws invalid_adapter if the adapter does not fit the model
   */
  async useAdapter(name: string, adapter: Adapter, modality: Modality = this.manifest.encoder.modality): Promise<void> {
    await this.#adapters.use(name, adapter, modality);
    await this.#openPatches();
  }

  /**
   * Reads the folder's manifest again and loads the adapters that changed. It also loads adapter files in `adapters/`
   * that the manifest does not list: for both tasks, under the name of the file, for the first encoder that they fit.
   * Adapters that are damaged or do not fit are reported, and the previous adapter of the same name stays in use.
   *
   * @throws not_found or invalid_model if the manifest cannot be read or belongs to a different model
   */
  async refreshAdapters(): Promise<AdapterChanges> {
    const changes = await this.#adapters.refresh();
    await this.#openPatches();
    return changes;
  }

  /** Lets the encoders return the patch states that the adapters take. */
  async #openPatches(): Promise<void> {
    for (const encoder of encodersOf(this.manifest)) {
      const { modality } = encoder;
      const patches = patchChoice(encoder, this.#adapters.patchDepths(modality));
      if (!patches || !encoder.patches || this.#encoder.patchDepths(modality) >= patches.depths) continue;
      this.#encoder.usePatches(modality, await this.#threads.openGraph(encoder.patches.graph), patches);
    }
  }

  /**
   * The number of visual tokens that a request about a medium adds to its prompt; the largest one of the adapters that
   * it may get.
   */
  visualTokens(options: { readonly adapter?: string | undefined; readonly modality?: Modality | undefined }): number {
    return this.#adapters.visualTokens(options.adapter, options.modality);
  }

  /** Counters of the encoders and the decoder since the model was loaded. */
  async counts(): Promise<ModelCounts> {
    return { encoder: this.#encoder.counts, decoder: await this.#threads.generator.counts() };
  }

  /**
   * The worker threads. One that ends unexpectedly is replaced: its pending calls are rejected with `unavailable`, and
   * later calls wait for the new one. If it ends too often, all calls are rejected with `internal`.
   */
  get threads(): readonly ThreadHealth[] {
    const { sessions, media, generator } = this.#threads;
    return [sessions.health, media.health, generator.health];
  }

  /** Ends the worker threads and rejects the calls that are still running. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const { sessions, media, generator } = this.#threads;
    await Promise.all([sessions.close(), media.close(), generator.close()]);
  }
}

/**
 * An encoded medium, which the model that encoded it can caption and answer questions about.
 *
 * @example
 * ```ts
 * import { load } from "epalm";
 * const model = await load("my-model");
 * const medium = await model.encode("photo.jpg");
 * const [caption, answer] = await Promise.all([medium.caption(), medium.vqa("what is it?")]);
 * ```
 */
export class EncodedMedium implements EncoderOutput {
  readonly modality: Modality;
  /** The [CLS] states after each block, each passed through the final norm: [depth, dv], first block first. */
  readonly states: Tensor;
  /** See `EncoderOutput.patches`. */
  readonly patches?: Tensor | undefined;
  readonly cached: boolean;
  readonly timings: EncoderOutput["timings"];
  readonly #model: Model;

  constructor(model: Model, { modality, states, patches, cached, timings }: EncoderOutput) {
    this.#model = model;
    this.modality = modality;
    this.states = states;
    this.patches = patches;
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

  /** See `Model.chat`. */
  chat(messages: readonly ChatMessage[], options?: AskOptions): Promise<Answer> {
    return this.#model.chat(this, messages, options);
  }

  /** See `Model.rank`. */
  rank(question: string, candidates: readonly string[], options?: RankOptions): Promise<Ranking> {
    return this.#model.rank(this, question, candidates, options);
  }
}

/**
 * Adds the spans `prefill` and `generate` of a request that the decoder's thread has computed; only `generate` if it
 * failed.
 */
async function tracedDecoding<Result extends { readonly decoding: DecodingReport }>(
  { adapter }: Pick<Source, "adapter">,
  work: () => Promise<Result>,
): Promise<Result> {
  const attributes = { [attribute.adapter]: adapter };
  const started = Date.now();
  try {
    const result = await work();
    const { prefill, prefillSequences, continuesPrefix, sequences } = result.decoding;
    const [prefilled, ended] = [started + prefill, Math.max(started + prefill, Date.now())];
    const first = { ...attributes, [attribute.batchSize]: prefillSequences, [attribute.cacheHit]: continuesPrefix };
    addSpan("prefill", first, started, prefilled);
    addSpan("generate", { ...attributes, [attribute.batchSize]: sequences }, prefilled, ended);
    return result;
  } catch (error) {
    addSpan("generate", attributes, started, Date.now(), error);
    throw error;
  }
}

/** @throws invalid_option for a smallest confidence that is no probability, or if there is no calibrated confidence */
function expectConfidence(map: ConfidenceMap | undefined, least: number | undefined, adapter: string): void {
  if (least === undefined) return;
  if (!(least >= 0 && least <= 1)) throw unexpected("invalid_option", "minConfidence", "0 to 1", String(least));
  if (map) return;
  const expected = "an adapter with calibrated confidence for this request, which `epalm calibrate` adds";
  throw unexpected("invalid_option", "minConfidence", expected, `'${adapter}' without`);
}

function abstentionOf(confidence: number | undefined, least: number | undefined): Pick<Trust, "abstained"> {
  return least !== undefined && (confidence ?? 0) < least ? { abstained: true } : {};
}

function confidenceOfText(map: ConfidenceMap, task: TaskName, { logProbs }: GeneratedText): number {
  return confidenceOf(map, task === "vqa" ? answerProbability(logProbs) : captionProbability(logProbs));
}

/** What the medium contributes to a candidate; nothing if the other ranking was not computed. */
function gainOver({ index, logProb }: RankedText, others: readonly RankedText[] = []): Pick<Trust, "mediaGain"> {
  const other = others.find((one) => one.index === index);
  return other ? { mediaGain: logProb - other.logProb } : {};
}

/** What an adapter computes from the states of a medium. @throws invalid_option if it needs states that are missing */
async function conditioningOf(adapter: ReadyAdapter, { states, patches }: EncoderOutput): Promise<Conditioning> {
  const { connector } = adapter;
  const softPrompt = await adapter.softPrompt();
  if (connector.kind === "slot") {
    const projected = await projectedStates(adapter, "cls_states", states, "perception");
    return { perception: { states: projected, plan: connector.plan }, softPrompt };
  }
  const own = patches && lastEntries(patches, connector.depths);
  if (!own) {
    const expected = `patches of the last ${connector.depths} blocks, such as \`Model.encode\` returns`;
    throw unexpected("invalid_option", `states: for adapter '${adapter.name}'`, expected, "none");
  }
  const tokens = await projectedStates(adapter, "patch_states", own, "visual_tokens");
  return { visual: { tokens, plan: connector.plan }, softPrompt };
}

/** The last entries along the first axis; undefined if there are fewer. */
function lastEntries({ type, shape, data }: Tensor, count: number): Tensor | undefined {
  const [all = 0, ...rest] = shape;
  if (all < count) return undefined;
  return { type, shape: [count, ...rest], data: data.subarray((data.length / all) * (all - count)) };
}

/** Runs the connector on the states of one medium. */
async function projectedStates(
  { name, session }: ReadyAdapter,
  input: string,
  states: Tensor,
  output: string,
): Promise<Tensor> {
  const batch: Tensor = { ...states, shape: [1, ...states.shape] };
  const { [output]: projected } = await session.run({ [input]: batch }, [output]);
  if (!projected) throw new EpalmError("internal", `adapter '${name}': computed no ${output}`);
  return { ...projected, shape: projected.shape.slice(1) };
}

/** Checks the questions at run time, for JavaScript callers. @throws invalid_option */
function expectQuestions(questions: readonly string[]): void {
  const isList = Array.isArray(questions) && questions.length > 0;
  if (isList && questions.every((question) => typeof question === "string")) return;
  throw new EpalmError("invalid_option", "question: expected a string or a list of at least one string");
}

/** Combines the answers to the individual questions. */
function joined(questions: readonly string[], answers: readonly Answer[]): Answers {
  const [first] = answers;
  if (!first) throw new EpalmError("internal", "answers: expected at least one");
  const { model, adapter, modality, familiarity, unfamiliar } = first;
  const longest = (stage: keyof Timings) => Math.max(...answers.map(({ timings }) => timings[stage]));
  const sum = (count: keyof Usage) => answers.reduce((total, { usage }) => total + usage[count], 0);
  return {
    answers: answers.map(({ text, texts, confidence, abstained, mediaGain }, at) => ({
      ...{ question: questions[at] ?? "", text, texts },
      ...definedOnly({ confidence, abstained, mediaGain }),
    })),
    model,
    adapter,
    modality,
    ...definedOnly({ familiarity, unfamiliar }),
    usage: { promptTokens: sum("promptTokens"), newTokens: sum("newTokens") },
    timings: {
      media: longest("media"),
      encoder: longest("encoder"),
      adapter: longest("adapter"),
      decoder: longest("decoder"),
    },
  };
}

/** Runs a call as a stream; `read` converts each piece that the call reports. */
function stream<Piece, Result>(
  options: StreamOptions,
  call: (options: AskOptions) => Promise<Result>,
  read: (piece: AnswerPiece) => Piece,
): AnswerStream<Piece, Result> {
  if ("onText" in options && options.onText !== undefined) {
    throw new EpalmError("invalid_option", "options: onText is not allowed here; iterate over the stream instead");
  }
  return new AnswerStream((left) => {
    const signal = options.signal ? AbortSignal.any([options.signal, left]) : left;
    return piecesOfCall((tell) => call({ ...options, signal, onText: (text, index) => tell(read({ index, text })) }));
  });
}

function textOf({ text }: AnswerPiece): string {
  return text;
}

/** Omits undefined options, so that they do not override defaults. */
function definedOnly<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
