/** A function that computes the result for each argument once and returns the same result afterwards. */
export function memoized<K, V>(compute: (key: K) => V): (key: K) => V {
  const known = new Map<K, V>();
  return (key) => {
    if (known.has(key)) return known.get(key) as V;
    const made = compute(key);
    known.set(key, made);
    return made;
  };
}

/** A function that computes its result at the first call. A failure is not kept: the next call tries again. */
export function once<T>(compute: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    result ??= compute().catch((error: unknown) => {
      result = undefined;
      throw error;
    });
    return result;
  };
}
