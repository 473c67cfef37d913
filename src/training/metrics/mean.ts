/** The mean of at least one number, summed from first to last as in the published evaluations. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
