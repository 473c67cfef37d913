/** Lengths of the n-grams that BLEU and CIDEr count. */
export const ORDERS = [1, 2, 3, 4] as const;

/** The count of each n-gram of `order` tokens; the key is its tokens joined by spaces. */
export function countNgrams(tokens: readonly string[], order: number): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (let start = 0; start + order <= tokens.length; start++) {
    const ngram = tokens.slice(start, start + order).join(" ");
    counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
  }
  return counts;
}
