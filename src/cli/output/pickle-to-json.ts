import { PickleClass, type PickleValue } from "../../formats/pickle.js";
import { TorchStorage } from "../../formats/torch-storage.js";
import { formatShape } from "../../tensor/tensor.js";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Values that are shown: a published config has some dozens, an optimizer's state thousands that say little. */
const MAX_VALUES = 500;
/** Levels that are shown; a hostile pickle may hold a list that holds itself. */
const MAX_DEPTH = 8;

/** What an unpickled object holds, for showing: tensors by type and shape, and no more than a bounded number of values. */
export function pickleToJson(value: PickleValue): Json {
  let left = MAX_VALUES;

  function convert(item: PickleValue, depth: number): Json {
    left--;
    if (item === null || typeof item === "boolean" || typeof item === "string") return item;
    if (typeof item === "number") return Number.isFinite(item) ? item : String(item);
    if (typeof item === "bigint") return item.toString();
    if (item instanceof Uint8Array) return `${item.length} bytes`;
    if (item instanceof PickleClass) return item.name;
    if (item instanceof TorchStorage) return `storage of ${item.length} ${item.type}`;
    if (depth >= MAX_DEPTH) return "…";
    if (Array.isArray(item)) return some(item).map((element) => convert(element, depth + 1));
    if (item instanceof Map) {
      const entries = some([...item]).map(([key, element]) => [String(key), convert(element, depth + 1)]);
      return Object.fromEntries(entries);
    }
    return `${item.type} ${formatShape(item.shape)}`;
  }

  function some<T>(items: readonly T[]): readonly T[] {
    return items.slice(0, Math.max(left, 0));
  }

  return convert(value, 0);
}
