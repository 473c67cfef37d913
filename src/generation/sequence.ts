import type { InjectionPlan } from "../adapter/injection-plan.js";
import type { Tensor } from "../tensor/tensor.js";

/** The conditioning of a sequence, which all sequences of a request share. */
export interface SequenceContext {
  readonly perception?: SequencePerception | undefined;
  /** Soft tokens before the text, [P, E]. */
  readonly softPrompt?: Tensor | undefined;
}

export interface SequencePerception {
  readonly plan: InjectionPlan;
  /** The state with which the slot is overwritten at each layer, [L, d]; arbitrary for layers without an overwrite. */
  readonly states: Float32Array;
}

/**
 * A sequence that is being computed. Its elements are the perceptual slot (if it is cached), the soft tokens and the
 * text, in this order; the cache holds the first `cached` of them.
 */
export interface Sequence {
  readonly context: SequenceContext;
  readonly text: readonly number[];
  readonly cached: number;
}

/** Assigns the K perceptual states [K, d] to the layers of a decoder, [L, d]. */
export function statesByLayer(states: Tensor, plan: InjectionPlan): Float32Array {
  const width = states.shape.at(-1) ?? 0;
  const data = states.data as Float32Array;
  const spread = new Float32Array(plan.stateAt.length * width);
  plan.stateAt.forEach((state, layer) => {
    if (state !== undefined) spread.set(data.subarray(state * width, (state + 1) * width), layer * width);
  });
  return spread;
}

/**
 * A slot that attends only to itself never changes and is cached like any token. A slot that attends to everything
 * changes with each new token, so it is computed again in every step and never cached.
 */
export function slotIsCached({ perception }: SequenceContext): boolean {
  return perception?.plan.perceptionSees === "itself";
}

/** Number of elements before the text. */
export function leadLength(context: SequenceContext): number {
  return (slotIsCached(context) ? 1 : 0) + (context.softPrompt?.shape[0] ?? 0);
}

/** Number of elements that the next step must compute. */
export function pendingCount(sequence: Sequence): number {
  return leadLength(sequence.context) + sequence.text.length - sequence.cached;
}

/** Whether cached elements remain valid when text is appended. */
export function isCacheable({ perception }: SequenceContext): boolean {
  return perception?.plan.cacheable ?? true;
}
