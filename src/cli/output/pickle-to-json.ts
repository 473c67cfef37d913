import { PickleClass, type PickleValue } from "../../formats/pickle.js";
import { TorchStorage } from "../../formats/torch-storage.js";
import { formatShape } from "../../tensor/tensor.js";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Limits the output: a published config has dozens of values, the state of an optimizer thousands of little use. */
const MAX_VALUES = 500;
/** Maximum nesting; a malicious pickle may contain a list that contains itself. */
const MAX_DEPTH = 8;

/** Converts an unpickled value for display. Tensors become type and shape, and the number of values is bounded. */
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
