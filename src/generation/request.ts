import { EpalmError } from "../core/errors.js";
import type { RequestOrigin } from "./request-origin.js";
import { isCacheable, type Sequence, type SequenceContext, slotIsCached } from "./sequence.js";
import type { LogitsRequest, StepOutput } from "./step.js";
import type { Strategy } from "./strategies/strategy.js";

/** A sequence that a scheduler runs, with the logits that it needs and its place in the cache. */
export interface SequenceState extends Sequence {
  /** Undefined if the sequence computes nothing until other sequences of its request are done. */
  readonly needs: LogitsRequest | undefined;
  /** Index in the cache as of the last step; undefined before the first step. */
  readonly cacheIndex: number | undefined;
}

/** A request as the scheduler sees it: sequences that need steps, until none are left. */
export interface GenerationRequest {
  readonly origin: RequestOrigin;
  /** The maximum number of sequences at any time. */
  readonly maxSequences: number;
  readonly sequences: readonly SequenceState[];
  /** Takes one output per sequence with needs, in order. `sequences` are then those of the next step; empty if done. */
  advance(computed: readonly SequenceState[], outputs: readonly StepOutput[]): void;
}

/** The sequence after a step has computed `count` of its pending elements. */
export function afterStep(sequence: SequenceState, cacheIndex: number, count: number): SequenceState {
  const cached = isCacheable(sequence.context) ? sequence.cached + count : 0;
  return { ...sequence, cacheIndex, cached };
}

/** A sequence that extends another one. */
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
  if (!sequence)
    throw new EpalmError("internal", `expected a sequence with an index below ${sequences.length}, got ${index}`);
  return sequence;
}

/** Generates text whose tokens are chosen by a strategy, one at a time. */
export class DecodingRequest implements GenerationRequest {
  readonly maxSequences: number;
  readonly strategy: Strategy;
  sequences: readonly SequenceState[];
  readonly #needs: LogitsRequest;

  constructor(
    context: SequenceContext,
    prompt: readonly number[],
    strategy: Strategy,
    readonly origin: RequestOrigin = {},
  ) {
    this.strategy = strategy;
    this.maxSequences = strategy.maxSequences;
    this.#needs = strategy.needs;
    this.sequences = [firstSequence(context, prompt, this.#needs)];
  }

  advance(computed: readonly SequenceState[], outputs: readonly StepOutput[]): void {
    const continuations = this.strategy.advance(outputs.map(({ next }) => next));
    this.sequences = continuations.map(({ parent, token }) =>
      continued(sequenceAt(computed, parent), [token], this.#needs),
    );
  }
}

/** Number of answers that are scored concurrently, each as a sequence in addition to the prompt's. */
const ANSWERS_AT_ONCE = 16;

/**
 * Computes log-probabilities of given answers after a prompt. The prompt is computed once, and its sequence is kept
 * while answers fork from it, several at a time. The tokens of an answer are computed together, unless the perceptual
 * slot attends to everything: through the slot, each token would then see later ones, unlike during generation.
 */
export class ScoringRequest implements GenerationRequest {
  readonly maxSequences: number;
  sequences: readonly SequenceState[];
  /** For each answer, the log-probability of each of its tokens; complete when the request is done. */
  readonly logProbs: number[][];
  readonly #answers: readonly (readonly number[])[];
  /** Maximum number of tokens of one answer per step. */
  readonly #tokensPerStep: number;
  #prompt: SequenceState;
  /** Indices of the answers of the sequences that follow the prompt's. */
  #running: readonly number[] = [];
  readonly #waiting: number[];

  constructor(
    context: SequenceContext,
    prompt: readonly number[],
    answers: readonly (readonly number[])[],
    readonly origin: RequestOrigin = {},
  ) {
    this.#answers = answers;
    this.#tokensPerStep = context.perception && !slotIsCached(context) ? 1 : Number.POSITIVE_INFINITY;
    this.#prompt = firstSequence(context, prompt, { kind: "logits" });
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

  /** Extends a sequence with the last scored token and all tokens to be scored except the last one. */
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
    if (!output || !("logits" in output.next)) throw new EpalmError("internal", "scoring: expected logits");
    const { logits, normalizer } = output.next;
    this.#answers.forEach((answer, index) => {
      const logit = logits[answer[0] ?? -1] ?? Number.NEGATIVE_INFINITY;
      this.logProbs[index]?.push(logit - normalizer);
    });
  }
}
