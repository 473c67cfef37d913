import { PickleClass, PickleObject, type PickleValue } from "../../formats/pickle.js";
import { TorchStorage } from "../../formats/torch-storage.js";
import { formatShape } from "../../tensor/tensor.js";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Limits the output: a published config has dozens of values, the state of an optimizer thousands of little use. */
const MAX_VALUES = 500;
/** Maximum nesting; a malicious pickle may contain a list that contains itself. */
const MAX_DEPTH = 8;

/**
 * Converts an unpickled value for display. Tensors become type and shape, placeholders the name of their class with
 * their contents, and the number of values is bounded.
 */
export function pickleToJson(value: PickleValue): Json {
  let left = MAX_VALUES;
  const shown = new Set<PickleObject>();

  function convert(item: PickleValue, depth: number): Json {
    left--;
    if (item === null || typeof item === "boolean" || typeof item === "string") return item;
    if (typeof item === "number") return Number.isFinite(item) ? item : String(item);
    if (typeof item === "bigint") return item.toString();
    if (item instanceof Uint8Array) return `${item.length} bytes`;
    if (item instanceof PickleClass) return item.name;
    if (item instanceof TorchStorage) return `storage of ${item.length} ${item.type}`;
    if (depth >= MAX_DEPTH) return "…";
    if (item instanceof PickleObject) {
      // Trees of settings refer to their parents.
      if (shown.has(item)) return item.className;
      shown.add(item);
    }
    if (Array.isArray(item)) return some(item).map((element) => convert(element, depth + 1));
    if (item instanceof Map) {
      const entries = some([...item]).map(([key, element]) => [keyText(key, depth), convert(element, depth + 1)]);
      return Object.fromEntries([...(item instanceof PickleObject ? partsOf(item, depth) : []), ...entries]);
    }
    return `${item.type} ${formatShape(item.shape)}`;
  }

  /** The name of the class, and its other contents where it has some. Attributes and items follow as entries. */
  function partsOf(object: PickleObject, depth: number): [string, Json][] {
    const { className, args, elements, state } = object;
    return [
      ["class", className],
      ...Object.entries({ args, elements, state: state === undefined ? [] : [state] }).flatMap(
        ([name, values]): [string, Json][] => (values.length === 0 ? [] : [[name, convert([...values], depth + 1)]]),
      ),
    ];
  }

  function keyText(key: PickleValue, depth: number): string {
    return typeof key === "object" ? JSON.stringify(convert(key, depth + 1)) : String(key);
  }

  function some<T>(items: readonly T[]): readonly T[] {
    return items.slice(0, Math.max(left, 0));
  }

  return convert(value, 0);
}

/** Limits the search for placeholders and the list of those that were found. */
const MAX_SEARCHED = 100_000;
const MAX_SKIPPED = 100;
/** Characters of a key in the name of a placeholder. */
const MAX_KEY = 100;

/** An object of which only the name is shown. */
export interface SkippedObject {
  /** Keys from the top level of the file, such as `args.output_dir`. */
  readonly name: string;
  /** `pathlib.PosixPath` */
  readonly class: string;
}

/** The objects and classes in an unpickled value that were not interpreted, those near the top level first. */
export function skippedObjects(root: PickleValue): readonly SkippedObject[] {
  const skipped: SkippedObject[] = [];
  const seen = new Set<PickleValue>();
  let level: [string, PickleValue][] = [["", root]];
  for (let depth = 0; depth < MAX_DEPTH && seen.size < MAX_SEARCHED; depth++) {
    const next: [string, PickleValue][] = [];
    for (const [name, value] of level) {
      if (skipped.length === MAX_SKIPPED || seen.size === MAX_SEARCHED) return skipped;
      if (typeof value !== "object" || value === null || seen.has(value)) continue;
      seen.add(value);
      if (value instanceof PickleObject) skipped.push({ name, class: value.className });
      else if (value instanceof PickleClass) skipped.push({ name, class: value.name });
      for (const [key, child] of childrenOf(value)) next.push([name === "" ? key : `${name}.${key}`, child]);
    }
    level = next;
  }
  return skipped;
}

function childrenOf(value: PickleValue): [string, PickleValue][] {
  if (Array.isArray(value)) return value.slice(0, MAX_SEARCHED).map((child, index) => [String(index), child]);
  if (!(value instanceof Map)) return [];
  return [...value]
    .slice(0, MAX_SEARCHED)
    .map(([key, child]) => [typeof key === "object" ? "…" : String(key).slice(0, MAX_KEY), child]);
}
