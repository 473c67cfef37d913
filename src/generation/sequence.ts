import type { InjectionPlan } from "../adapter/injection-plan.js";
import type { Tensor } from "../tensor/tensor.js";

/** What a sequence hears of the world: the same for all sequences of a request. */
export interface SequenceContext {
  readonly perception?: SequencePerception | undefined;
  /** Soft tokens [P, E] before the text. */
  readonly softPrompt?: Tensor | undefined;
}

export interface SequencePerception {
  readonly plan: InjectionPlan;
  /** [layers, d]: what the slot is overwritten with at each layer; anything where it is not. */
  readonly states: Float32Array;
}

/**
 * One sequence in the making. Its elements are the perceptual slot (where it is kept in the cache), the soft
 * tokens and the text, in this order; the cache holds the first `cached` of them.
 */
export interface Sequence {
  readonly context: SequenceContext;
  readonly text: readonly number[];
  readonly cached: number;
}

/** Spreads the K states [K, d] of an image over the layers of a decoder: [layers, d]. */
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
 * A slot that attends to itself alone never changes and is cached like any token. One that sees everything
 * changes with each new token: it is computed again in every step, and never cached.
 */
export function slotIsCached({ perception }: SequenceContext): boolean {
  return perception?.plan.perceptionSees === "itself";
}

/** How many elements stand before the text. */
export function leadLength(context: SequenceContext): number {
  return (slotIsCached(context) ? 1 : 0) + (context.softPrompt?.shape[0] ?? 0);
}

/** Elements that the next step must compute. */
export function pendingCount(sequence: Sequence): number {
  return leadLength(sequence.context) + sequence.text.length - sequence.cached;
}

/** Whether what the cache holds stays right when text follows. */
export function isCacheable({ perception }: SequenceContext): boolean {
  return perception?.plan.cacheable ?? true;
}
