/** Lengths of n-grams which BLEU and CIDEr look at. */
export const ORDERS = [1, 2, 3, 4] as const;

/** How often each n-gram of `order` tokens occurs; its key is its tokens, joined by blanks. */
export function countNgrams(tokens: readonly string[], order: number): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (let start = 0; start + order <= tokens.length; start++) {
    const ngram = tokens.slice(start, start + order).join(" ");
    counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
  }
  return counts;
}
