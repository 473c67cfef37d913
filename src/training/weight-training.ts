import { gradientName } from "../autodiff/gradient.js";
import { EpalmError } from "../core/errors.js";
import { type Feeds, openSession, type Results, type Session, type SessionOptions } from "../runtime/session.js";
import { floats, type Tensor } from "../tensor/tensor.js";
import { AdamW, type AdamWOptions, type StepSize } from "./adamw.js";
import { type Fingerprint, type RunState, writeRunState } from "./run-state.js";

/** Where training starts or resumes. The given tensors are copied and never changed. */
export interface TrainingStart {
  /** Trained tensors by the names of the graph's inputs. */
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly optimizer: AdamWOptions;
  /** State of an interrupted run; its weights replace those above. */
  readonly state?: RunState | undefined;
}

/** Results of a batch other than its gradients. */
export interface BatchResult {
  readonly loss: number;
  /** The requested outputs by name. */
  readonly outputs: Results;
}

/** How a step changes the weights. */
export interface StepOptions {
  /** Maximum norm of all gradients together; larger ones are scaled down to it. Default: no clipping. */
  readonly clipNorm?: number | undefined;
  readonly sizeOf: (name: string) => StepSize;
}

/**
 * Weights in training, with a graph that computes loss and gradients (`gradient`), the gradients summed over the
 * batches of a step, and the optimizer.
 */
export class WeightTraining {
  readonly #session: Session;
  readonly #weights: Map<string, Tensor>;
  readonly #optimizer: AdamW;
  /** Gradients of the batches since the last step; empty before the first one. */
  readonly #sums = new Map<string, Float32Array>();

  private constructor(session: Session, { weights, optimizer, state }: TrainingStart) {
    this.#session = session;
    this.#weights = new Map(
      Array.from(state?.weights ?? weights, ([name, tensor]) => [name, { ...tensor, data: floats(tensor).slice() }]),
    );
    this.#optimizer = new AdamW(optimizer, state && { steps: state.step, moments: state.moments });
  }

  /** @param graph path or bytes of a graph with the outputs `loss` and `gradient of NAME` for each weight */
  static async open(
    graph: string | Uint8Array,
    start: TrainingStart,
    options: SessionOptions = {},
  ): Promise<WeightTraining> {
    return new WeightTraining(await openSession(graph, options), start);
  }

  /** The current values; the next step changes them in place. */
  get weights(): ReadonlyMap<string, Tensor> {
    return this.#weights;
  }

  /** Optimizer steps done. */
  get steps(): number {
    return this.#optimizer.steps;
  }

  /**
   * Computes a batch and adds its gradients to those of the step.
   *
   * @throws diverged if the loss is NaN or infinite
   */
  async add(feeds: Feeds, outputs: readonly string[] = []): Promise<BatchResult> {
    const gradients = Array.from(this.#weights.keys(), gradientName);
    const results = await this.evaluate(feeds, ["loss", ...outputs, ...gradients]);
    const loss = Number(results.loss?.data[0]);
    if (!Number.isFinite(loss)) {
      throw new EpalmError(
        "diverged",
        `the loss is ${loss} in step ${this.steps + 1}: lower the learning rate or clip the gradients`,
      );
    }
    for (const name of this.#weights.keys()) {
      const [sum, part] = [this.#sums.get(name), floats(results[gradientName(name)])];
      if (sum) addTo(sum, part);
      else this.#sums.set(name, part);
    }
    const asked = Object.entries(results).filter(([name]) => outputs.includes(name));
    return { loss, outputs: Object.fromEntries(asked) };
  }

  /** Computes outputs with the current weights, which do not change. */
  evaluate(feeds: Feeds, outputs: readonly string[]): Promise<Results> {
    // A session may keep the tensors it received, but weights change in place: each run gets new tensors.
    const weights = Object.fromEntries(Array.from(this.#weights, ([name, tensor]) => [name, { ...tensor }]));
    return this.#session.run({ ...feeds, ...weights }, outputs);
  }

  /**
   * Adds the gradient of `strength / 2 * |weights - anchor|^2` to those of the step: the proximal term of FedProx (Li
   * et al. 2018, arXiv 1812.06127).
   */
  pullTowards(anchor: ReadonlyMap<string, Tensor>, strength: number): void {
    for (const [name, sum] of this.#sums) {
      const [weights, target] = [this.#weights.get(name)?.data ?? [], anchor.get(name)?.data ?? []];
      for (let i = 0; i < sum.length; i++) {
        sum[i] = (sum[i] as number) + strength * (Number(weights[i]) - Number(target[i]));
      }
    }
  }

  /** Ends a step: updates the weights with the summed gradients. Returns their norm before clipping. */
  step({ clipNorm, sizeOf }: StepOptions): number {
    const norm = clip(this.#sums, clipNorm);
    this.#optimizer.step(this.#weights, (name) => this.#sums.get(name) ?? new Float32Array(), sizeOf);
    this.#sums.clear();
    return norm;
  }

  /** Writes the run state; `readRunState` reads it, and `open` resumes from it. */
  save(path: string, fingerprint: Fingerprint): void {
    const { steps: step, weights } = this;
    writeRunState(path, { step, fingerprint, weights, moments: this.#optimizer.moments });
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}

function addTo(sum: Float32Array, part: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (part[i] as number);
}

/** Scales all gradients so that their common norm is at most `limit`; returns the norm before scaling. */
function clip(gradients: ReadonlyMap<string, Float32Array>, limit: number | undefined): number {
  let squares = 0;
  for (const data of gradients.values()) for (const value of data) squares += value * value;
  const norm = Math.sqrt(squares);
  if (limit === undefined || norm <= limit) return norm;
  for (const data of gradients.values()) {
    for (let i = 0; i < data.length; i++) data[i] = ((data[i] as number) * limit) / norm;
  }
  return norm;
}
