import { VISUAL_TOKENS_INPUT } from "../adapter/decoder-graph.js";
import type { DecoderShape } from "../backbones/backbone.js";
import { EpalmError } from "../core/errors.js";
import type { ElementType, Tensor, TypedArray } from "../tensor/tensor.js";
import {
  elementAt,
  pendingCount,
  type Sequence,
  type SequenceVisual,
  slotIsCached,
  visualLength,
  visualStart,
} from "./sequence.js";
import type { ScheduledSequence } from "./step.js";

/** The columns of a sequence's elements in a step, [first, end). If `first` is 1, column 0 is the perceptual slot. */
export interface Columns {
  readonly first: number;
  readonly end: number;
}

/** The columns of a sequence. A slot that attends to everything is computed in every step, before pending elements. */
export function columnsOf({ sequence, active, count }: ScheduledSequence): Columns {
  if (!active) return { first: 0, end: 0 };
  const first = sequence.context.perception && !slotIsCached(sequence.context) ? 1 : 0;
  return { first, end: first + (count ?? pendingCount(sequence)) };
}

export interface StepInputs {
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** Number of scored tokens of each sequence. */
  readonly scoredCounts: readonly number[];
}

/**
 * The inputs of the decoder graph for a step, except the cache (see adapter/decoder-graph.ts).
 *
 * @param capacity length of the time axis of the cache's feeds
 * @param topCount number of most probable tokens to return per scored token
 */
export function stepInputs(
  scheduled: readonly ScheduledSequence[],
  shape: DecoderShape,
  capacity: number,
  topCount: number,
): StepInputs {
  const step = new StepArrays(scheduled, shape, capacity);
  scheduled.forEach((entry, index) => {
    if (entry.active) step.place(entry, index);
  });
  return { feeds: step.feeds(topCount), scoredCounts: step.scoredCounts };
}

/** Fills the arrays of a step, sequence by sequence: B rows (one per sequence), T columns, C cached positions. */
class StepArrays {
  readonly scoredCounts: number[];
  readonly #ids: BigInt64Array;
  readonly #positions: BigInt64Array;
  readonly #hasPosition: Uint8Array;
  readonly #visible: Uint8Array;
  readonly #perceptionKeys: Uint8Array;
  readonly #perceptionVisible: Uint8Array;
  readonly #overwrites: Uint8Array;
  readonly #states: Float32Array;
  readonly #given: Tensor[] = [];
  readonly #givenStarts = new Map<Tensor, number>();
  readonly #scored: number[] = [];
  readonly #targets: number[] = [];
  readonly #width: number;

  constructor(
    readonly scheduled: readonly ScheduledSequence[],
    readonly shape: DecoderShape,
    readonly capacity: number,
  ) {
    const count = scheduled.length;
    this.#width = Math.max(...scheduled.map((entry) => columnsOf(entry).end));
    const keys = capacity + this.#width;
    this.scoredCounts = new Array(count).fill(0);
    this.#ids = new BigInt64Array(count * this.#width);
    this.#positions = new BigInt64Array(count * this.#width);
    this.#hasPosition = new Uint8Array(count * this.#width);
    this.#visible = new Uint8Array(count * this.#width * keys);
    this.#perceptionKeys = new Uint8Array(count * keys);
    this.#perceptionVisible = new Uint8Array(count * shape.layers);
    this.#overwrites = new Uint8Array(count * shape.layers);
    const hasSlot = scheduled.some(({ sequence, active }) => active && sequence.context.perception);
    this.#states = hasSlot ? new Float32Array(count * shape.layers * shape.width) : emptyStates(count, shape);
  }

  place(entry: ScheduledSequence, index: number): void {
    this.#placeTokens(entry.sequence, columnsOf(entry), index);
    this.#placeVisibility(entry.sequence, columnsOf(entry), index);
    this.#placePerception(entry.sequence, columnsOf(entry), index);
    this.#placeVisual(entry.sequence, columnsOf(entry), index);
    this.#placeScored(entry, columnsOf(entry), index);
  }

  feeds(topCount: number): Readonly<Record<string, Tensor>> {
    const [count, width, keys] = [this.scheduled.length, this.#width, this.capacity + this.#width];
    const { layers, width: d, embeddingWidth } = this.shape;
    const given = this.#given.length > 0 ? this.#given : [nothingGiven(embeddingWidth)];
    return {
      input_ids: tensor("int64", [count, width], this.#ids),
      position_ids: tensor("int64", [count, width], this.#positions),
      [VISUAL_TOKENS_INPUT]: tensor("bool", [count, width], this.#hasPosition),
      visible: tensor("bool", [count, width, keys], this.#visible),
      perception_keys: tensor("bool", [count, keys], this.#perceptionKeys),
      perception_visible: tensor("bool", [count, layers], this.#perceptionVisible),
      perception_overwrites: tensor("bool", [count, layers], this.#overwrites),
      perception_states: tensor("float32", [count, layers, d], this.#states),
      soft_prompt: joinRows(given, embeddingWidth),
      scored_rows: tensor("int64", [this.#scored.length], BigInt64Array.from(this.#scored, BigInt)),
      target_ids: tensor("int64", [this.#targets.length], BigInt64Array.from(this.#targets, BigInt)),
      top_count: tensor("int64", [1], BigInt64Array.of(BigInt(topCount))),
    };
  }

  #placeTokens(sequence: Sequence, { first, end }: Columns, index: number): void {
    const { softPrompt, visual } = sequence.context;
    for (let column = first; column < end; column++) {
      const element = elementAt(sequence.context, sequence.cached + column - first);
      const at = index * this.#width + column;
      if (element.kind === "text") this.#ids[at] = BigInt(sequence.text[element.index] ?? 0);
      if (element.kind === "soft" && softPrompt) this.#ids[at] = this.#givenId(softPrompt, element.index);
      if (element.kind === "visual" && visual) this.#ids[at] = this.#givenId(visual.tokens, element.index);
      if (element.kind !== "text" && element.kind !== "visual") continue;
      this.#positions[at] = BigInt(element.position);
      this.#hasPosition[at] = 1;
    }
  }

  /** Every element attends to the cached elements, to those before it in the step, and to itself. */
  #placeVisibility(sequence: Sequence, { end }: Columns, index: number): void {
    const keys = this.capacity + this.#width;
    for (let column = 0; column < end; column++) {
      const start = (index * this.#width + column) * keys;
      const open = this.#seenFrom(sequence, column, end);
      this.#visible.fill(1, start, start + (open.past ? sequence.cached : 0));
      this.#visible.fill(1, start + this.capacity + open.from, start + this.capacity + open.to);
    }
  }

  #seenFrom(sequence: Sequence, column: number, end: number): { past: boolean; from: number; to: number } {
    const isSlot =
      column === 0 &&
      sequence.context.perception !== undefined &&
      (sequence.cached === 0 || !slotIsCached(sequence.context));
    if (!isSlot) return { past: true, from: 0, to: column + 1 };
    return slotIsCached(sequence.context) ? { past: false, from: 0, to: 1 } : { past: true, from: 0, to: end };
  }

  #placePerception(sequence: Sequence, { end }: Columns, index: number): void {
    const { perception } = sequence.context;
    if (!perception || end === 0) return;
    const { layers, width } = this.shape;
    const keys = this.capacity + this.#width;
    const slotWasCached = slotIsCached(sequence.context) && sequence.cached > 0;
    this.#perceptionKeys[index * keys + (slotWasCached ? 0 : this.capacity)] = 1;
    perception.plan.visible.forEach((visible, layer) => {
      this.#perceptionVisible[index * layers + layer] = Number(visible);
    });
    if (slotWasCached) return;
    perception.plan.stateAt.forEach((state, layer) => {
      this.#overwrites[index * layers + layer] = Number(state !== undefined);
    });
    this.#states.set(perception.states, index * layers * width);
  }

  /** Visual tokens that exist at all layers are masked like text; others are perceptual tokens. */
  #placeVisual({ context, cached }: Sequence, { end }: Columns, index: number): void {
    if (!context.visual || end === 0 || isEverywhere(context.visual)) return;
    const { plan } = context.visual;
    const { layers } = this.shape;
    const keys = index * (this.capacity + this.#width);
    const start = visualStart(context);
    for (let element = start; element < start + visualLength(context); element++) {
      const isPending = element >= cached;
      // Elements that the step does not reach yet have no column.
      if (isPending && element - cached >= end) break;
      this.#perceptionKeys[keys + (isPending ? this.capacity + element - cached : element)] = 1;
    }
    plan.visible.forEach((visible, layer) => {
      this.#perceptionVisible[index * layers + layer] = Number(visible);
    });
    if (plan.startLayer > 0) this.#overwrites[index * layers + plan.startLayer] = 1;
  }

  #placeScored({ needs }: ScheduledSequence, { first, end }: Columns, index: number): void {
    // Next tokens are scored after the last element; the graph requires a target in this case, too.
    const targets = needs.kind === "targets" ? needs.tokens : [0];
    const start = end - targets.length;
    if (start < first) {
      throw new EpalmError("internal", `expected at most ${end - first} targets, got ${targets.length}`);
    }
    targets.forEach((target, at) => {
      this.#scored.push(index * this.#width + start + at);
      this.#targets.push(target);
    });
    this.scoredCounts[index] = targets.length;
  }

  /** The id of a row of given embeddings, which the step then contains. */
  #givenId(rows: Tensor, index: number): bigint {
    const start = this.#givenStarts.get(rows) ?? this.#given.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
    if (!this.#givenStarts.has(rows)) this.#given.push(rows);
    this.#givenStarts.set(rows, start);
    return BigInt(this.shape.vocabulary + start + index);
  }
}

function tensor(type: ElementType, shape: readonly number[], data: TypedArray): Tensor {
  return { type, shape, data };
}

function isEverywhere({ plan }: SequenceVisual): boolean {
  return plan.visible.every(Boolean);
}

/** An embedding that no id refers to, because the table must have at least one row. */
function nothingGiven(width: number): Tensor {
  return tensor("float32", [1, width], new Float32Array(width));
}

function joinRows(tables: readonly Tensor[], width: number): Tensor {
  const [only] = tables;
  if (only && tables.length === 1) return only;
  const rows = tables.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
  const data = new Float32Array(rows * width);
  let at = 0;
  for (const table of tables) {
    data.set(table.data as Float32Array, at);
    at += table.data.length;
  }
  return tensor("float32", [rows, width], data);
}

/** Zeros for steps without a slot, created once per size because they are never modified. */
const emptyStateArrays = new Map<number, Float32Array>();

function emptyStates(count: number, { layers, width }: DecoderShape): Float32Array {
  const size = count * layers * width;
  const known = emptyStateArrays.get(size) ?? new Float32Array(size);
  emptyStateArrays.set(size, known);
  return known;
}
