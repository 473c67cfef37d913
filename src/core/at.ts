import { EpalmError } from "./errors.js";

/**
 * The item at an index that has to exist.
 *
 * @throws internal if it does not
 */
export function at<T>(items: ArrayLike<T>, index: number): T {
  const item = items[index];
  if (item === undefined) throw new EpalmError("internal", `no item ${index} among ${items.length}`);
  return item;
}

/** The entries of keys that have to exist, in the order of the keys. */
export function pickEntries<K, V>(entries: ReadonlyMap<K, V>, keys: readonly K[]): Map<K, V> {
  return new Map(
    keys.map((key) => {
      const value = entries.get(key);
      if (value === undefined) throw new EpalmError("internal", `no entry ${key}`);
      return [key, value];
    }),
  );
}
