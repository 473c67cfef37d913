import { readFileSync } from "node:fs";
import type {
  FinishedHypothesis,
  NextOutput,
  NextRequest,
  NextTokens,
  Strategy,
} from "../../src/generation/strategies/strategy.js";

/** A decoder that is defined by a function from tokens to the logits of the next token. */
export interface TableModel {
  readonly vocabulary: number;
  readonly logitsAfter: (tokens: readonly number[]) => readonly number[];
}

export function readFixture<Content>(name: string): Content {
  return JSON.parse(readFileSync(`test/fixtures/generation/${name}`, "utf8"));
}

/** The output of a decoder for given logits: log-probabilities, best first, ties by token id. */
export function rowOutput(logits: readonly number[], candidates: number | "all" = "all"): NextTokens {
  const normalizer = logsumexp(logits);
  const ranked = logits
    .map((logit, token) => ({ token, logProb: logit - normalizer }))
    .sort((a, b) => b.logProb - a.logProb)
    .slice(0, candidates === "all" ? undefined : candidates);
  return { tokens: ranked.map(({ token }) => token), logProbs: ranked.map(({ logProb }) => logProb) };
}

/** What a decoder returns for a request of a strategy. */
export function outputFor(logits: readonly number[], needs: NextRequest): NextOutput {
  if (needs.kind === "next") return rowOutput(logits, needs.count);
  return { logits: Float32Array.from(logits), normalizer: logsumexp(logits) };
}

function logsumexp(logits: readonly number[]): number {
  const highest = Math.max(...logits);
  return highest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0));
}

export interface Run {
  readonly hypotheses: readonly FinishedHypothesis[];
  /** Number of sequences that continued after each step, including the final 0. */
  readonly counts: readonly number[];
  /** The result of `settledTokens` after each step. */
  readonly settled: readonly (readonly number[] | undefined)[];
}

/** Runs a strategy as the scheduler does; throws if it continues a sequence that does not exist. */
export function run(strategy: Strategy, model: TableModel, prompt: readonly number[] = []): Run {
  let sequences: readonly (readonly number[])[] = [prompt];
  const counts: number[] = [];
  const settled: Run["settled"][number][] = [];
  while (sequences.length > 0) {
    const outputs = sequences.map((tokens) => outputFor(model.logitsAfter(tokens), strategy.needs));
    const before = sequences;
    sequences = strategy.advance(outputs).map(({ parent, token }) => {
      const past = before[parent];
      if (past === undefined) throw new RangeError(`parent ${parent} of ${before.length} sequences`);
      return [...past, token];
    });
    counts.push(sequences.length);
    settled.push(strategy.settledTokens());
  }
  return { hypotheses: strategy.hypotheses(), counts, settled };
}

/** A small model whose logits, exact in float32, are sines of the last token and the length. */
export function waveModel(vocabulary: number, seed: number): TableModel {
  return {
    vocabulary,
    logitsAfter: (tokens) =>
      Array.from({ length: vocabulary }, (_, token) => {
        const last = tokens.at(-1) ?? vocabulary;
        return Math.fround(2 * Math.sin(seed + 12.9898 * token + 78.233 * last + 37.719 * tokens.length));
      }),
  };
}
