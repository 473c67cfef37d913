import { encoderInputs } from "../backbones/encoders/encoder-graph.js";
import { abortError } from "../core/abort.js";
import { EpalmError } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import type { Session } from "../runtime/session.js";
import { elementCount, formatShape, sameShape, type Tensor } from "../tensor/tensor.js";

/** The properties of an encoder that the batcher needs. */
export interface EncoderShape {
  readonly modality: Modality;
  /** Shape of one example, without the batch axis. */
  readonly inputShape: readonly number[];
  readonly depth: number;
  readonly width: number;
}

/** Counters since the model was loaded. */
export interface EncoderCounts {
  readonly runs: number;
  readonly examples: number;
}

interface Waiting {
  readonly data: Float32Array;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (states: Tensor) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Encodes waiting examples in batches: examples that arrive during a run wait for the next one, which takes up to
 * `maxBatch` of them. A request never waits just to fill a batch.
 */
export class EncoderBatcher {
  readonly #session: Session;
  readonly #shape: EncoderShape;
  readonly #maxBatch: number;
  #waiting: Waiting[] = [];
  #isRunning = false;
  #counts = { runs: 0, examples: 0 };

  constructor(session: Session, shape: EncoderShape, maxBatch: number) {
    this.#session = session;
    this.#shape = shape;
    this.#maxBatch = maxBatch;
  }

  get counts(): EncoderCounts {
    return this.#counts;
  }

  /**
   * Returns the states of one example, [depth, dv].
   *
   * @param signal cancels the example, unless its run has begun
   * @throws aborted, and the errors of the session
   */
  encode(data: Float32Array, signal?: AbortSignal): Promise<Tensor> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ data, signal, resolve, reject });
      if (!this.#isRunning) void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#isRunning = true;
    // Calls in the same turn of the event loop join the first batch.
    await Promise.resolve();
    for (let batch = this.#take(); batch.length > 0; batch = this.#take()) await this.#run(batch);
    this.#isRunning = false;
  }

  #take(): Waiting[] {
    for (const { reject, signal } of this.#waiting.filter(({ signal }) => signal?.aborted)) {
      reject(abortError(signal));
    }
    this.#waiting = this.#waiting.filter(({ signal }) => !signal?.aborted);
    return this.#waiting.splice(0, this.#maxBatch);
  }

  async #run(batch: readonly Waiting[]): Promise<void> {
    const { modality, inputShape, depth, width } = this.#shape;
    const size = elementCount(inputShape);
    try {
      const data = new Float32Array(batch.length * size);
      for (const [index, example] of batch.entries()) data.set(example.data, index * size);
      const input: Tensor = { type: "float32", shape: [batch.length, ...inputShape], data };
      const { cls_states: states } = await this.#session.run({ [encoderInputs[modality]]: input }, ["cls_states"]);
      const expected = [batch.length, depth, width];
      if (!states || !sameShape(states.shape, expected)) {
        throw new EpalmError("invalid_model", `encoder: expected states ${formatShape(expected)}`);
      }
      this.#counts = { runs: this.#counts.runs + 1, examples: this.#counts.examples + batch.length };
      const all = states.data;
      for (const [index, { resolve }] of batch.entries()) {
        const own = all.slice(index * depth * width, (index + 1) * depth * width);
        resolve({ type: "float32", shape: [depth, width], data: own });
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
