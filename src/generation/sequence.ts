import type { InjectionPlan, VisualTokenPlan } from "../adapter/injection-plan.js";
import type { Tensor } from "../tensor/tensor.js";

/** The conditioning of a sequence, which all sequences of a request share. */
export interface SequenceContext {
  readonly perception?: SequencePerception | undefined;
  readonly visual?: SequenceVisual | undefined;
  /** Soft tokens before the text, [P, E]. */
  readonly softPrompt?: Tensor | undefined;
}

/** Visual tokens of a sequence, which have positions like text. */
export interface SequenceVisual {
  readonly plan: VisualTokenPlan;
  /** Shape [n, E]. */
  readonly tokens: Tensor;
  /** Number of text tokens before them. If it is 0, they also precede the soft tokens. */
  readonly textBefore: number;
  /** Equal for sequences with the same visual and soft tokens in the same place. Default: nothing is shared. */
  readonly key?: string | undefined;
}

export interface SequencePerception {
  readonly plan: InjectionPlan;
  /** The state with which the slot is overwritten at each layer, [L, d]; arbitrary for layers without an overwrite. */
  readonly states: Float32Array;
}

/**
 * A sequence that is being computed. Its elements are the perceptual slot (if it is cached), the soft tokens and the
 * text, in this order, and visual tokens before or inside them; the cache holds the first `cached` elements.
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

/** Number of elements that are not text. */
export function leadLength(context: SequenceContext): number {
  return (slotIsCached(context) ? 1 : 0) + visualLength(context) + (context.softPrompt?.shape[0] ?? 0);
}

/** Number of visual tokens. */
export function visualLength({ visual }: SequenceContext): number {
  return visual?.tokens.shape[0] ?? 0;
}

/** The index of the first visual token among the elements of a sequence. */
export function visualStart({ visual, softPrompt }: SequenceContext): number {
  const { textBefore = 0 } = visual ?? {};
  return textBefore === 0 ? 0 : (softPrompt?.shape[0] ?? 0) + textBefore;
}

/** The number of elements up to the last visual token. */
export function visualEnd(context: SequenceContext): number {
  return visualStart(context) + visualLength(context);
}

/** What an element of a sequence is, with its index among elements of its kind. */
export type SequenceElement =
  | { readonly kind: "slot" }
  | { readonly kind: "soft"; readonly index: number }
  | { readonly kind: "visual"; readonly index: number; readonly position: number }
  | { readonly kind: "text"; readonly index: number; readonly position: number };

/** The element at an index of the sequence. Positions count text and visual tokens. */
export function elementAt(context: SequenceContext, index: number): SequenceElement {
  const slots = slotIsCached(context) ? 1 : 0;
  if (index < slots) return { kind: "slot" };
  const [count, start] = [visualLength(context), visualStart(context)];
  const { textBefore = 0 } = context.visual ?? {};
  const fromVisual = index - start;
  if (fromVisual >= 0 && fromVisual < count) {
    return { kind: "visual", index: fromVisual, position: textBefore + fromVisual };
  }
  const others = index - slots - (fromVisual >= count ? count : 0);
  const text = others - (context.softPrompt?.shape[0] ?? 0);
  if (text < 0) return { kind: "soft", index: others };
  return { kind: "text", index: text, position: text < textBefore ? text : text + count };
}

/** Number of elements that the next step must compute. */
export function pendingCount(sequence: Sequence): number {
  return leadLength(sequence.context) + sequence.text.length - sequence.cached;
}

/**
 * Number of elements at the beginning of two sequences that are the same, so that their keys and values are, too; 0
 * unless all visual tokens are among them.
 */
export function sharedElements(a: Sequence, b: Sequence): number {
  const [{ visual, perception }, other] = [a.context, b.context];
  if (visual?.key === undefined || visual.key !== other.visual?.key || perception || other.perception) return 0;
  let same = 0;
  while (same < a.text.length && same < b.text.length && a.text[same] === b.text[same]) same++;
  return same < visual.textBefore ? 0 : leadLength(a.context) + same;
}

/** Whether cached elements remain valid when text is appended. */
export function isCacheable({ perception }: SequenceContext): boolean {
  return perception?.plan.cacheable ?? true;
}
