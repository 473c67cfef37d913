/** What one text costs to compute. */
export interface TextWork {
  /** Tokens that are computed once, before the sequences fork. */
  readonly promptTokens: number;
  /** Sequences that are computed at the same time: beams, texts (`n`) or candidates. */
  readonly sequences: number;
  /** Maximum number of tokens of each of these sequences. */
  readonly tokensPerSequence: number;
}

/**
 * The cost of a text in tokens: those of the prompt (prefill) and those of all its sequences (decoding). The scheduler
 * divides the capacity of the decoder in the same unit, a token of a sequence.
 */
export function textCost({ promptTokens, sequences, tokensPerSequence }: TextWork): number {
  return promptTokens + sequences * tokensPerSequence;
}
