import { EpalmError } from "../core/errors.js";
import { isCacheable, leadLength, type Sequence, type SequenceContext, slotIsCached } from "./sequence.js";
import type { LogitsRequest, StepOutput } from "./step.js";
import type { Strategy } from "./strategies/strategy.js";

/** A sequence that a scheduler runs: what it is, what it needs, and where the cache holds it. */
export interface SequenceState extends Sequence {
  /** Undefined while a sequence waits for others of its request. */
  readonly needs: LogitsRequest | undefined;
  /** Index in the cache since the last step; undefined before the first. */
  readonly cacheIndex: number | undefined;
}

/** One request, as the scheduler sees it: sequences that want steps until there are none. */
export interface GenerationRequest {
  /** The most sequences that it will ever have at once. */
  readonly maxSequences: number;
  readonly sequences: readonly SequenceState[];
  /** Takes one output per sequence that asked, in order; `sequences` are then those of the next step, none when done. */
  advance(computed: readonly SequenceState[], outputs: readonly StepOutput[]): void;
}

/** The sequence as it is after a step computed all its elements. */
export function afterStep(sequence: SequenceState, cacheIndex: number): SequenceState {
  const cached = isCacheable(sequence.context) ? leadLength(sequence.context) + sequence.text.length : 0;
  return { ...sequence, cacheIndex, cached };
}

/** A sequence that continues another. */
function continued(
  sequence: SequenceState,
  tokens: readonly number[],
  needs: LogitsRequest | undefined,
): SequenceState {
  return { ...sequence, text: [...sequence.text, ...tokens], needs };
}

function firstSequence(context: SequenceContext, prompt: readonly number[], needs: LogitsRequest): SequenceState {
  return { context, text: prompt, cached: 0, cacheIndex: undefined, needs };
}

function sequenceAt(sequences: readonly SequenceState[], index: number): SequenceState {
  const sequence = sequences[index];
  if (!sequence) throw new EpalmError("internal", `sequence ${index} does not continue: there are ${sequences.length}`);
  return sequence;
}

/** Text that a strategy chooses, token by token. */
export class DecodingRequest implements GenerationRequest {
  readonly maxSequences: number;
  readonly strategy: Strategy;
  sequences: readonly SequenceState[];
  readonly #needs: LogitsRequest;

  constructor(context: SequenceContext, prompt: readonly number[], strategy: Strategy) {
    this.strategy = strategy;
    this.maxSequences = strategy.maxSequences;
    this.#needs = { kind: "next", count: strategy.candidates };
    this.sequences = [firstSequence(context, prompt, this.#needs)];
  }

  advance(computed: readonly SequenceState[], outputs: readonly StepOutput[]): void {
    const continuations = this.strategy.advance(outputs.map(({ next }) => next));
    this.sequences = continuations.map(({ parent, token }) =>
      continued(sequenceAt(computed, parent), [token], this.#needs),
    );
  }
}

/** How many answers are scored side by side: sequences beside the prompt's. */
const ANSWERS_AT_ONCE = 16;

/**
 * Log-probabilities of given answers after a prompt. The prompt is computed once; its sequence stays while answers
 * fork from it, some at a time. An answer's tokens are computed together, unless the perceptual slot sees
 * everything: through it each would see those that follow, which the model does not when it writes.
 */
export class ScoringRequest implements GenerationRequest {
  readonly maxSequences: number;
  sequences: readonly SequenceState[];
  /** Per answer, the log-probability of each of its tokens; complete when the request is done. */
  readonly logProbs: number[][];
  readonly #answers: readonly (readonly number[])[];
  /** Of one answer. */
  readonly #tokensPerStep: number;
  #prompt: SequenceState;
  /** The answers that the sequences behind the prompt's stand for. */
  #running: readonly number[] = [];
  readonly #waiting: number[];

  constructor(context: SequenceContext, prompt: readonly number[], answers: readonly (readonly number[])[]) {
    this.#answers = answers;
    this.#tokensPerStep = context.perception && !slotIsCached(context) ? 1 : Number.POSITIVE_INFINITY;
    this.#prompt = firstSequence(context, prompt, { kind: "next", count: "all" });
    this.sequences = [this.#prompt];
    this.logProbs = answers.map(() => []);
    this.#waiting = answers.flatMap((answer, index) => (answer.length > 1 ? [index] : []));
    this.maxSequences = 1 + Math.min(this.#waiting.length, ANSWERS_AT_ONCE);
  }

  advance(computed: readonly SequenceState[], outputs: readonly StepOutput[]): void {
    if (this.#prompt.needs) this.#readFirstTokens(outputs[0]);
    else this.#readTargets(outputs);
    this.#prompt = { ...sequenceAt(computed, 0), needs: undefined };
    const begun = this.#running.flatMap((index, at) =>
      this.#isScored(index) ? [] : [{ index, sequence: sequenceAt(computed, at + 1) }],
    );
    const next = this.#waiting.splice(0, ANSWERS_AT_ONCE - begun.length);
    const continuing = [...begun, ...next.map((index) => ({ index, sequence: this.#prompt }))];
    this.#running = continuing.map(({ index }) => index);
    const sequences = continuing.map(({ index, sequence }) => this.#continueAnswer(index, sequence));
    this.sequences = sequences.length > 0 ? [this.#prompt, ...sequences] : [];
  }

  #isScored(index: number): boolean {
    return this.logProbs[index]?.length === this.#answers[index]?.length;
  }

  /** The sequence with the last token that has a score, and those to be scored but the last. */
  #continueAnswer(index: number, sequence: SequenceState): SequenceState {
    const answer = this.#answers[index] ?? [];
    const known = this.logProbs[index]?.length ?? 0;
    const end = Math.min(known + this.#tokensPerStep, answer.length);
    const needs: LogitsRequest = { kind: "targets", tokens: answer.slice(known, end) };
    return continued(sequence, answer.slice(known - 1, end - 1), needs);
  }

  #readTargets(outputs: readonly StepOutput[]): void {
    outputs.forEach(({ targetLogProbs }, at) => {
      this.logProbs[this.#running[at] ?? 0]?.push(...targetLogProbs);
    });
  }

  #readFirstTokens(output: StepOutput | undefined): void {
    const tokens = output?.next.tokens ?? [];
    const found = new Map<number, number>();
    for (let rank = 0; rank < tokens.length; rank++)
      found.set(tokens[rank] as number, output?.next.logProbs[rank] as number);
    this.#answers.forEach((answer, index) => {
      this.logProbs[index]?.push(found.get(answer[0] ?? -1) ?? Number.NEGATIVE_INFINITY);
    });
  }
}
