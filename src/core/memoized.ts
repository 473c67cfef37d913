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
