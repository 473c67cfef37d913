import { EpalmError } from "../errors.js";
import type { RowOutput } from "./strategy.js";

/** A token and its natural log-probability. */
export interface Choice {
  readonly token: number;
  readonly logProb: number;
}

/** Refuses outputs that do not answer the rows asked for; always a fault of the caller. */
export function expectRows(rows: readonly RowOutput[], expected: number): void {
  if (rows.length === expected) return;
  throw new EpalmError("internal", `advance: expected the outputs of ${expected} rows, got ${rows.length}`);
}

/** The output of row `index`. */
export function rowAt(rows: readonly RowOutput[], index: number): RowOutput {
  const row = rows[index];
  if (row === undefined) {
    throw new EpalmError(
      "internal",
      `advance: expected an output for row ${index}, got ${rows.length} outputs`,
    );
  }
  return row;
}

/** The token at `rank`, 0 being the best. */
export function choiceAt(row: RowOutput, rank: number): Choice {
  const token = row.tokens[rank];
  const logProb = row.logProbs[rank];
  if (token === undefined || logProb === undefined || Number.isNaN(logProb)) {
    throw new EpalmError(
      "internal",
      `row output: expected a token with a log-probability at rank ${rank} of ${row.tokens.length}, ` +
        `got token ${token} with ${logProb}`,
    );
  }
  return { token, logProb };
}

/** The best `count` tokens, fewer if the row has fewer. */
export function bestChoices(row: RowOutput, count: number): Choice[] {
  return Array.from({ length: Math.min(count, row.tokens.length) }, (_, rank) => choiceAt(row, rank));
}

/** The row without `barred` tokens; the rest is not normalised again. */
export function withoutTokens(row: RowOutput, barred: ReadonlySet<number>): RowOutput {
  const kept = Array.from(row.tokens, (token) => !barred.has(token));
  return {
    tokens: Array.from(row.tokens).filter((_, rank) => kept[rank]),
    logProbs: Array.from(row.logProbs).filter((_, rank) => kept[rank]),
  };
}
