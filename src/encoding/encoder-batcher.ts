import type { PatchLayout } from "../backbones/backbone.js";
import { encoderInputs } from "../backbones/encoders/encoder-graph.js";
import { patchOutput } from "../backbones/encoders/patch-states.js";
import { abortError } from "../core/abort.js";
import { EpalmError } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import type { Results, Session } from "../runtime/session.js";
import { elementCount, formatShape, sameShape, type Tensor } from "../tensor/tensor.js";

/** The properties of an encoder that the batcher needs. */
export interface EncoderShape {
  readonly modality: Modality;
  /** Shape of one example, without the batch axis. */
  readonly inputShape: readonly number[];
  readonly depth: number;
  readonly width: number;
}

/** The states of one example. */
export interface ExampleStates {
  /** Shape [depth, dv]. */
  readonly states: Tensor;
  /** States of the patches after each of the last D blocks, [D, N, dv]; only if adapters need them. */
  readonly patches?: Tensor | undefined;
}

/** The states of one example, and the number of examples that its run computed. */
export interface BatchedStates extends ExampleStates {
  readonly batchSize: number;
}

/** The patch states that a batcher returns. */
export interface PatchChoice {
  readonly layout: PatchLayout;
  /** D: number of the encoder's last blocks whose states are returned. */
  readonly depths: number;
}

/** Counters since the model was loaded. */
export interface EncoderCounts {
  readonly runs: number;
  readonly examples: number;
}

interface Waiting {
  readonly data: Float32Array;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (states: BatchedStates) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Encodes waiting examples in batches: examples that arrive during a run wait for the next one, which takes up to
 * `maxBatch` of them. A request never waits just to fill a batch.
 */
export class EncoderBatcher {
  readonly #shape: EncoderShape;
  readonly #maxBatch: number;
  #session: Pick<Session, "run">;
  #patches: PatchChoice | undefined;
  #waiting: Waiting[] = [];
  #isRunning = false;
  #counts = { runs: 0, examples: 0 };

  constructor(session: Pick<Session, "run">, shape: EncoderShape, maxBatch: number, patches?: PatchChoice) {
    this.#session = session;
    this.#shape = shape;
    this.#maxBatch = maxBatch;
    this.#patches = patches;
  }

  /** The patch states that are returned. */
  get patches(): PatchChoice | undefined {
    return this.#patches;
  }

  /** Returns other patch states from the next run on, which `session` computes. */
  usePatches(session: Pick<Session, "run">, patches: PatchChoice): void {
    this.#session = session;
    this.#patches = patches;
  }

  get counts(): EncoderCounts {
    return this.#counts;
  }

  /**
   * Returns the states of one example.
   *
   * @param signal cancels the example, unless its run has begun
   * @throws aborted, and the errors of the session
   */
  encode(data: Float32Array, signal?: AbortSignal): Promise<BatchedStates> {
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
    const session = this.#session;
    const { layout, depths = 0 } = this.#patches ?? {};
    const patchNames = Array.from({ length: depths }, (_, index) => patchOutput(depth - depths + index));
    const patches = layout ? layout.frames * layout.rows * layout.columns : 0;
    try {
      const data = new Float32Array(batch.length * size);
      for (const [index, example] of batch.entries()) data.set(example.data, index * size);
      const input: Tensor = { type: "float32", shape: [batch.length, ...inputShape], data };
      const results = await session.run({ [encoderInputs[modality]]: input }, ["cls_states", ...patchNames]);
      const states = checkedOutput(results, "cls_states", [batch.length, depth, width]);
      const ofPatches = patchNames.map((name) => checkedOutput(results, name, [batch.length, patches, width]));
      this.#counts = { runs: this.#counts.runs + 1, examples: this.#counts.examples + batch.length };
      for (const [index, { resolve }] of batch.entries()) {
        const own = { states: rowOf(states, index), batchSize: batch.length };
        if (depths === 0) resolve(own);
        else resolve({ ...own, patches: stackedRows(ofPatches, index, [depths, patches, width]) });
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}

function checkedOutput(results: Results, name: string, shape: readonly number[]): Tensor {
  const tensor = results[name];
  if (tensor && sameShape(tensor.shape, shape)) return tensor;
  throw new EpalmError("invalid_model", `encoder: expected ${name} ${formatShape(shape)}`);
}

/** Entry `index` of the first axis. */
function rowOf({ type, shape, data }: Tensor, index: number): Tensor {
  const [, ...rest] = shape;
  const size = elementCount(rest);
  return { type, shape: rest, data: data.slice(index * size, (index + 1) * size) };
}

/** Entry `index` of the first axis of each tensor, stacked. */
function stackedRows(tensors: readonly Tensor[], index: number, shape: readonly number[]): Tensor {
  const data = new Float32Array(elementCount(shape));
  const size = data.length / Math.max(1, tensors.length);
  for (const [at, tensor] of tensors.entries()) {
    data.set(tensor.data.subarray(index * size, (index + 1) * size) as Float32Array, at * size);
  }
  return { type: "float32", shape, data };
}
