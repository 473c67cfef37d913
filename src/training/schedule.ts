/** Learning rate over a run: up in a line, then down along a cosine (Loshchilov and Hutter 2017). */
export interface Schedule {
  /** Optimizer steps of the whole run. */
  readonly steps: number;
  /** Of them, those in which the rate goes up. */
  readonly warmupSteps: number;
  /** Share of the full rate at the very beginning and at the very end, each 0 to 1. */
  readonly startShare: number;
  readonly endShare: number;
}

/** The share of the full learning rate in step `step`, the first being 0. */
export function learningRateShare({ steps, warmupSteps, startShare, endShare }: Schedule, step: number): number {
  if (step < warmupSteps) return startShare + ((1 - startShare) * step) / warmupSteps;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, steps - warmupSteps));
  return endShare + ((1 - endShare) * (1 + Math.cos(Math.PI * progress))) / 2;
}
