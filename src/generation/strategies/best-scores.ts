/** Candidates that are collected before they are sorted and reduced, as a multiple of the number that is kept. */
const COLLECTED = 2;
const MIN_COLLECTED = 32;

/** The ids of the `count` highest scores, best first (ties: lower id first), without those of -Infinity. */
export function bestScores(scores: Float32Array, count: number): number[] {
  const byScore = (a: number, b: number) => (scores[b] as number) - (scores[a] as number) || a - b;
  const most = Math.max(MIN_COLLECTED, COLLECTED * count);
  const kept: number[] = [];
  // Later ids with a score equal to the threshold rank below those that are kept.
  let threshold = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < scores.length; id++) {
    if (!((scores[id] as number) > threshold)) continue;
    kept.push(id);
    if (kept.length < most) continue;
    kept.sort(byScore);
    kept.length = Math.min(kept.length, count);
    if (kept.length === count) threshold = scores[kept[count - 1] as number] as number;
  }
  return kept.sort(byScore).slice(0, count);
}
