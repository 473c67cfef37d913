/** Formats scores as `CIDEr 0.912, BLEU-4 0.301`, or as `-` if there are none. */
export function formatScores(scores: Readonly<Record<string, number>>): string {
  const parts = Object.entries(scores).map(([name, value]) => `${name} ${value.toFixed(3)}`);
  return parts.join(", ") || "-";
}
