import { EpalmError, unexpected } from "../../core/errors.js";
import type { Choice, NextOutput, NextTokens } from "./strategy.js";

/** Rejects a number of outputs that differs from the number of sequences, which is always a fault of the caller. */
export function expectOutputCount(outputs: readonly NextOutput[], expected: number): void {
  if (outputs.length === expected) return;
  throw unexpected("internal", "advance", `the outputs of ${expected} sequences`, outputs.length);
}

export function outputAt(outputs: readonly NextOutput[], index: number): NextOutput {
  const next = outputs[index];
  if (next === undefined) {
    throw unexpected("internal", "advance", `an output for sequence ${index}`, `${outputs.length} outputs`);
  }
  return next;
}

/** The token at `rank`, 0 being the best. */
export function choiceAt(next: NextTokens, rank: number): Choice {
  const token = next.tokens[rank];
  const logProb = next.logProbs[rank];
  if (token === undefined || logProb === undefined || Number.isNaN(logProb)) {
    throw new EpalmError(
      "internal",
      `next tokens: expected a token with a log-probability at rank ${rank} of ${next.tokens.length}, ` +
        `got token ${token} with ${logProb}`,
    );
  }
  return { token, logProb };
}

/** The best `count` tokens, or all if there are fewer. */
export function bestChoices(next: NextTokens, count: number): Choice[] {
  return Array.from({ length: Math.min(count, next.tokens.length) }, (_, rank) => choiceAt(next, rank));
}
