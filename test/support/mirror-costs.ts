import { type ClockedSession, runGreedy } from "../../bench/greedy-run.js";
import type { DecoderShape } from "../../src/backbones/backbone.js";

/** Sequences of a batch. */
export const BATCH = 8;

export interface MirrorRun {
  readonly tokens: readonly number[];
  /** Bytes that each step after the prompts sends. */
  readonly sent: readonly number[];
}

export interface MirrorRuns {
  /** More tokens than a block of the cache's time axis has. */
  readonly long: MirrorRun;
  readonly beams: MirrorRun;
  /** Each sequence ends one step after the one before it. */
  readonly leaving: MirrorRun;
}

/** The steps that have to send the cache: the first one of a text, and the one with which it outgrows a block. */
export const sendingSteps = { long: [0, 64 - 10], beams: [0], leaving: [0] } as const;

/** Texts of one batch, as a decoder's session computes them. */
export async function mirrorRuns(session: ClockedSession, shape: DecoderShape): Promise<MirrorRuns> {
  const common = { batch: BATCH, promptTokens: 10 };
  const run = async (options: Parameters<typeof runGreedy>[2]) => {
    const { tokens, steps } = await runGreedy(session, shape, { ...common, ...options });
    return { tokens, sent: steps.map(({ sent }) => sent) };
  };
  return {
    long: await run({ newTokens: 60 }),
    beams: await run({ newTokens: 8, batch: 2, beams: 4 }),
    leaving: await run({ newTokens: BATCH + 2, optionsOf: (row) => ({ maxNewTokens: BATCH + 2 - row }) }),
  };
}

/** Bytes of the cache of a batch with one block of positions. */
export function blockBytes({ layers, attention: { keyHeads, headSize } }: DecoderShape): number {
  return BATCH * 64 * 2 * layers * keyHeads * headSize * Float32Array.BYTES_PER_ELEMENT;
}

/** The steps that send the cache, and the most that another step sends, in relation to the cache. */
export function resentSteps({ sent }: MirrorRun, bytes: number): { resent: number[]; largestShare: number } {
  const resent = sent.flatMap((count, step) => (count > bytes / 2 ? [step] : []));
  const others = sent.filter((count) => count <= bytes / 2);
  return { resent, largestShare: Math.max(...others) / bytes };
}
