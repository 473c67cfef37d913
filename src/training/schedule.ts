/** Learning rate over a run: linear warm-up, then cosine decay (Loshchilov and Hutter 2017). */
export interface Schedule {
  /** Optimizer steps of the whole run. */
  readonly steps: number;
  /** Number of those steps in which the rate rises. */
  readonly warmupSteps: number;
  /** Fractions of the full rate at the beginning and at the end, each 0 to 1. */
  readonly startShare: number;
  readonly endShare: number;
}

/** Fraction of the full learning rate in step `step`, counted from 0. */
export function learningRateShare({ steps, warmupSteps, startShare, endShare }: Schedule, step: number): number {
  if (step < warmupSteps) return startShare + ((1 - startShare) * step) / warmupSteps;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, steps - warmupSteps));
  return endShare + ((1 - endShare) * (1 + Math.cos(Math.PI * progress))) / 2;
}
