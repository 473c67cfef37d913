/** The classes that a torch file may name in its pickle, and their replacements. All others are rejected. */
import { EpalmError } from "../core/errors.js";
import type { ElementType } from "../tensor/tensor.js";
import { PickleClass, type PickleDialect, PickleRecord, type PickleValue, pickleKey } from "./pickle.js";
import { TorchStorage } from "./torch-storage.js";
import type { ZipRecord } from "./zip-records.js";

const storageTypes: Readonly<Record<string, ElementType>> = {
  DoubleStorage: "float64",
  FloatStorage: "float32",
  HalfStorage: "float16",
  BFloat16Storage: "bfloat16",
  LongStorage: "int64",
  IntStorage: "int32",
  ShortStorage: "int16",
  CharStorage: "int8",
  ByteStorage: "uint8",
  BoolStorage: "bool",
};

/** Represents the element type in a persistent id; never called. */
class StorageClass extends PickleClass {
  readonly type: ElementType;

  constructor(name: string, type: ElementType) {
    super(name, () => {
      throw refused(`${name} is called; it is only allowed in a persistent id`);
    });
    this.type = type;
  }
}

const classes: ReadonlyMap<string, PickleClass> = new Map(
  [
    ...Object.entries(storageTypes).map(([name, type]) => new StorageClass(`torch.${name}`, type)),
    new PickleClass("torch._utils._rebuild_tensor_v2", rebuildTensor),
    new PickleClass("torch._utils._rebuild_parameter", ([data = null]) => data),
    new PickleClass("torch.Size", ([dims = []]) => dims),
    // Becomes a string such as `cpu` or `cuda:0`.
    new PickleClass("torch.device", (parts) => parts.map(String).join(":")),
    new PickleClass("collections.OrderedDict", orderedDict),
    new PickleClass("argparse.Namespace", () => new PickleRecord()),
  ].map((known) => [known.name, known]),
);

/**
 * The pickle dialect of `torch.save` in its zip format (`torch/serialization.py`): storages are persistent ids
 * `("storage", class, key, location, length)`, whose bytes are in the record `data/<key>`.
 */
export function torchDialect(storageRecord: (key: string) => ZipRecord | undefined): PickleDialect {
  const storages = new Map<string, TorchStorage>();
  return {
    classes,
    persistent(id) {
      const [tag, storageClass, key, , length] = Array.isArray(id) ? id : [];
      if (tag !== "storage" || !(storageClass instanceof StorageClass)) {
        throw refused("a persistent id does not refer to a known storage");
      }
      if (typeof key !== "string" || typeof length !== "number") throw refused("a storage has no key or length");
      const known = storages.get(key);
      if (known?.type === storageClass.type && known.length === length) return known;
      const record = storageRecord(key);
      if (!record) throw refused(`record data/${key} of a storage is missing`);
      const storage = new TorchStorage(storageClass.type, length, record);
      storages.set(key, storage);
      return storage;
    },
  };
}

/** `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks, metadata=None)` */
function rebuildTensor(args: readonly PickleValue[]): PickleValue {
  const [storage, offset, size, strides, , , metadata] = args;
  if (!(storage instanceof TorchStorage) || typeof offset !== "number") {
    throw refused("a tensor has no storage or offset");
  }
  const negatedOrConjugated = metadata instanceof Map && metadata.size > 0;
  if (negatedOrConjugated) throw refused("a tensor has metadata (a lazy negation or conjugation)");
  return storage.tensor(offset, numbers(size), numbers(strides));
}

function numbers(value: PickleValue | undefined): number[] {
  const isNumbers = Array.isArray(value) && value.every((item) => typeof item === "number");
  if (!isNumbers) throw refused("the shape or the strides of a tensor are not numbers");
  return [...value];
}

/** Pickles from Python 2 pass the items to the constructor as pairs; newer ones set them afterwards. */
function orderedDict([pairs = []]: readonly PickleValue[]): PickleValue {
  if (!Array.isArray(pairs)) throw refused("an OrderedDict is made from a value that is not a list");
  return new Map(
    pairs.map((pair) => {
      if (!Array.isArray(pair)) throw refused("an OrderedDict has an item that is not a pair");
      const [key, value = null] = pair;
      return [pickleKey(key), value];
    }),
  );
}

function refused(cause: string): EpalmError {
  return new EpalmError("invalid_checkpoint", `pickle: ${cause}`);
}
