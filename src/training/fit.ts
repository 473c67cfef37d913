import { throwIfAborted } from "../core/abort.js";
import type { Feeds, Results } from "../runtime/session.js";
import type { StepSize } from "./adamw.js";
import type { WeightTraining } from "./weight-training.js";

export interface FitOptions {
  /**
   * The batches of each optimizer step, without the first `done` steps, which an earlier session has done. The
   * gradients of a step's batches are summed. Training ends after the last step.
   */
  readonly batches: (done: number) => AsyncIterable<readonly Feeds[]>;
  /** Prepares the batches of the next step while the current step is computed. Default: false. */
  readonly prefetch?: boolean | undefined;
  /** Outputs of the graph that `onStep` receives in addition to the loss. */
  readonly outputs?: readonly string[] | undefined;
  /** Fraction of the full learning rate to use in a step, counted from 0; usually `learningRateShare`. */
  readonly rateShare: (step: number) => number;
  /** Learning rate and decay of a tensor in a step with this fraction of the full learning rate. */
  readonly stepSize: (name: string, rateShare: number) => StepSize;
  /** Maximum norm of all gradients together; larger ones are scaled down to it. Default: no clipping. */
  readonly clipNorm?: number | undefined;
  /** Called before each update, when all gradients of the step have been summed. */
  readonly onGradients?: (() => void) | undefined;
  /** Called after each update: for logs, evaluation and checkpoints. */
  readonly onStep?: ((report: FitReport) => void | Promise<void>) | undefined;
  /** Stops the run before the next step. */
  readonly signal?: AbortSignal | undefined;
  /** Called when the signal has fired, to save the progress; may throw its own error. */
  readonly onAbort?: (() => void) | undefined;
}

/** Report of one optimizer step. */
export interface FitReport {
  /** Steps done, including this one and those of earlier sessions. */
  readonly step: number;
  /** Summed over the batches of the step. */
  readonly loss: number;
  /** Norm of the gradients before clipping, over all tensors. */
  readonly gradientNorm: number;
  readonly rateShare: number;
  /** The inputs of each batch and its requested outputs. */
  readonly batches: readonly { readonly feeds: Feeds; readonly outputs: Results }[];
  /** Duration of the step, including the wait for its batches. */
  readonly milliseconds: number;
}

/**
 * The training loop: each step sums the gradients of its batches and updates the weights. It writes nothing itself;
 * `onStep` decides what to log, evaluate and save.
 *
 * @throws diverged if the loss is not finite; aborted
 */
export async function fit(training: WeightTraining, options: FitOptions): Promise<void> {
  const { prefetch, outputs, clipNorm, stepSize, onGradients, onStep, signal, onAbort } = options;
  const steps = options.batches(training.steps);
  let started = performance.now();
  for await (const step of prefetch ? prefetched(steps) : steps) {
    if (signal?.aborted) onAbort?.();
    throwIfAborted(signal, "training");
    const rateShare = options.rateShare(training.steps);
    const batches: FitReport["batches"][number][] = [];
    let loss = 0;
    for (const feeds of step) {
      const result = await training.add(feeds, outputs);
      batches.push({ feeds, outputs: result.outputs });
      loss += result.loss;
    }
    onGradients?.();
    const gradientNorm = training.step({ clipNorm, sizeOf: (name) => stepSize(name, rateShare) });
    const milliseconds = performance.now() - started;
    await onStep?.({ step: training.steps, loss, gradientNorm, rateShare, batches, milliseconds });
    started = performance.now();
  }
}

/** Yields the same items, but requests each one before the previous one is used. */
async function* prefetched<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
  const iterator = items[Symbol.asyncIterator]();
  let next = iterator.next();
  try {
    for (let item = await next; !item.done; item = await next) {
      next = iterator.next();
      // The error is thrown by the `await` above; until then Node would report an unhandled rejection.
      next.catch(() => undefined);
      yield item.value;
    }
  } finally {
    await iterator.return?.();
  }
}
