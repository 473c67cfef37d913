/** Changes of the logits of single tokens. The values that change nothing: 1, 0, 0 and no biases. */
export interface TokenPenalties {
  /** Above 1, tokens in the prompt and in the new text become less probable. */
  readonly repetitionPenalty: number;
  /** Subtracted for each time that a token is in the new text. */
  readonly frequencyPenalty: number;
  /** Subtracted if a token is in the new text. */
  readonly presencePenalty: number;
  /** Added, by token id. */
  readonly biases: ReadonlyMap<number, number>;
}

/**
 * Applies biases, then penalties, in place. The repetition penalty is that of transformers 5.18,
 * generation/logits_process.py, `RepetitionPenaltyLogitsProcessor`; the others and the order are those of vLLM 0.11,
 * v1/sample/ops/penalties.py. All of them compute in float32.
 *
 * @param scores by token id: logits, or with beam search log-probabilities
 * @param prompt text tokens of the prompt
 * @param tokens new tokens
 */
export function applyPenalties(
  scores: Float32Array,
  { repetitionPenalty, frequencyPenalty, presencePenalty, biases }: TokenPenalties,
  prompt: readonly number[],
  tokens: readonly number[],
): void {
  const change = (token: number, to: (score: number) => number) => {
    const score = scores[token];
    if (score !== undefined) scores[token] = to(score);
  };
  for (const [token, bias] of biases) change(token, (score) => score + Math.fround(bias));
  if (repetitionPenalty !== 1) {
    const penalty = Math.fround(repetitionPenalty);
    for (const token of new Set([...prompt, ...tokens])) {
      change(token, (score) => (score < 0 ? score * penalty : score / penalty));
    }
  }
  for (const [token, count] of countsOf(tokens)) {
    change(token, (score) => score - Math.fround(Math.fround(frequencyPenalty) * count));
    change(token, (score) => score - Math.fround(presencePenalty));
  }
}

function countsOf(tokens: readonly number[]): ReadonlyMap<number, number> {
  const counts = new Map<number, number>();
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return counts;
}
