import { Thread, type ThreadHealth } from "../runtime/thread.js";
import type { EngineCounts } from "./engine.js";
import type { GenerationOptions } from "./options.js";
import type { RankingOptions } from "./ranking.js";
import type { GenerateOptions, Generation, RankedTexts, TextRequest } from "./text-generator.js";
import type { OpenDecoder } from "./text-generator-thread.worker.js";

/** A `TextGenerator` in a worker thread; the caller's event loop only passes requests and texts. */
export class RemoteTextGenerator {
  /** The decoder that is open, which a new worker has to open again. */
  #decoder: OpenDecoder | undefined;
  readonly #thread = new Thread(new URL("./text-generator-thread.worker.js", import.meta.url), {
    name: "decoder",
    restore: async (call) => {
      if (this.#decoder) await call("open", this.#decoder);
    },
  });
  #counts: EngineCounts = { steps: 0, sequences: 0, lastSequences: 0, waiting: 0 };

  /** Opens the decoder, which has to happen before any other call. */
  async open(decoder: OpenDecoder): Promise<void> {
    await this.#thread.call("open", decoder);
    this.#decoder = decoder;
  }

  /** See `TextGenerator.generate`. */
  async generate(request: TextRequest, options: GenerationOptions, control: GenerateOptions = {}): Promise<Generation> {
    const { signal, onText, origin, shortens } = control;
    const onEvent = onText && ((piece: unknown) => onText(String(piece)));
    const payload = { request, options, streams: onText !== undefined, origin, shortens };
    return (await this.#thread.call("generate", payload, { signal, onEvent })) as Generation;
  }

  /** See `TextGenerator.rank`. */
  async rank(
    request: TextRequest,
    candidates: readonly string[],
    { signal, ...options }: RankingOptions & Omit<GenerateOptions, "onText"> = {},
  ): Promise<RankedTexts> {
    return (await this.#thread.call("rank", { request, candidates, options }, { signal })) as RankedTexts;
  }

  /** See `TextGenerator.scoreText`. */
  async scoreText(text: string): Promise<number[]> {
    return (await this.#thread.call("scoreText", { text })) as number[];
  }

  /** See `TextGenerator.counts`. While the thread is being replaced, the counts are those of the last call. */
  async counts(): Promise<EngineCounts> {
    if (this.#thread.state === "replacing") return this.#counts;
    this.#counts = (await this.#thread.call("counts", {})) as EngineCounts;
    return this.#counts;
  }

  get health(): ThreadHealth {
    return this.#thread;
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}
