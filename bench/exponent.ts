/**
 * The exponent b of the power law y = a x^b that fits best: the slope of the line through the logarithms. NaN for fewer
 * than two different x, or if a value is not positive.
 */
export function exponentOf(points: readonly (readonly [x: number, y: number])[]): number {
  const meanX = mean(points.map(([x]) => Math.log(x)));
  const meanY = mean(points.map(([, y]) => Math.log(y)));
  const covariance = mean(points.map(([x, y]) => (Math.log(x) - meanX) * (Math.log(y) - meanY)));
  const variance = mean(points.map(([x]) => (Math.log(x) - meanX) ** 2));
  return variance === 0 ? Number.NaN : covariance / variance;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
