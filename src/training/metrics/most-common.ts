/** How often each text occurs, in the order of the first occurrences. */
export function counted(texts: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return counts;
}

/** Most common first; equally common ones in the order of their first occurrence. */
export function mostCommon(counts: ReadonlyMap<string, number>): [string, number][] {
  return Array.from(counts).sort(([, a], [, b]) => b - a);
}

/** The most common text; undefined if there are none. */
export function mostCommonText(texts: readonly string[]): string | undefined {
  const [[text] = []] = mostCommon(counted(texts));
  return text;
}
