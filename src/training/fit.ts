import { throwIfAborted } from "../core/abort.js";
import type { Feeds, Results } from "../runtime/session.js";
import type { StepSize } from "./adamw.js";
import type { WeightTraining } from "./weight-training.js";

export interface FitOptions {
  /**
   * The batches of each optimizer step after the first `done` steps, which an earlier session has done; the gradients
   * of a step's batches are added up. Training ends with the last of them.
   */
  readonly batches: (done: number) => AsyncIterable<readonly Feeds[]>;
  /** Prepares the batches of the next step while those of the current one are computed. Default: false. */
  readonly prefetch?: boolean | undefined;
  /** Outputs of the graph that `onStep` gets besides the loss. */
  readonly outputs?: readonly string[] | undefined;
  /** Share of the full learning rate in a step, counted from 0; usually `learningRateShare`. */
  readonly rateShare: (step: number) => number;
  /** How a tensor is changed in a step with this share of the learning rate. */
  readonly stepSize: (name: string, rateShare: number) => StepSize;
  /** Gradients are scaled down to this norm, over all tensors. Default: not at all. */
  readonly clipNorm?: number | undefined;
  /** Called before each update, when all gradients of the step have been added. */
  readonly onGradients?: (() => void) | undefined;
  /** Called after each update: for logs, evaluation and checkpoints. */
  readonly onStep?: ((report: FitReport) => void | Promise<void>) | undefined;
  /** Stops the run before its next step. */
  readonly signal?: AbortSignal | undefined;
  /** Called when the signal has fired, to save what has been done; may throw an error of its own. */
  readonly onAbort?: (() => void) | undefined;
}

/** What one optimizer step did. */
export interface FitReport {
  /** Steps done, including this one and those of earlier sessions. */
  readonly step: number;
  /** Summed over the batches of the step. */
  readonly loss: number;
  /** Norm of the gradients before clipping, over all tensors. */
  readonly gradientNorm: number;
  readonly rateShare: number;
  /** Per batch: its inputs, and the outputs that were asked for. */
  readonly batches: readonly { readonly feeds: Feeds; readonly outputs: Results }[];
  /** Of the step, including the wait for its batches. */
  readonly milliseconds: number;
}

/**
 * The training loop: for each step, adds up the gradients of its batches and updates the weights. It writes nothing;
 * `onStep` says what is logged, evaluated and saved, and when.
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

/** The same items, each requested before the one in front of it is used. */
async function* prefetched<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
  const iterator = items[Symbol.asyncIterator]();
  let next = iterator.next();
  try {
    for (let item = await next; !item.done; item = await next) {
      next = iterator.next();
      // A failure is thrown when its turn comes, and would count as unhandled until then.
      next.catch(() => undefined);
      yield item.value;
    }
  } finally {
    await iterator.return?.();
  }
}
