/** The classes and functions in the pickle of a torch file that create tensors and containers, with replacements. */
import { EpalmError } from "../core/errors.js";
import type { ElementType } from "../tensor/tensor.js";
import { MAX_RANK } from "./limits.js";
import { numpyScalar } from "./numpy-scalar.js";
import { PickleClass, type PickleDialect, PickleObject, type PickleValue } from "./pickle.js";
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

/** The class of storages whose tensors state their type themselves; its lengths count bytes. */
const UNTYPED_STORAGE = "torch.storage.UntypedStorage";

/** Types of tensors in untyped storages. */
const dtypes: ReadonlyMap<string, ElementType> = new Map(
  Object.values(storageTypes).map((type) => [`torch.${type}`, type]),
);

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

/** A tensor that cannot be read. It causes an error only if it is in the state dict that is used. */
export class UnsupportedTensor extends PickleObject {
  /** Completes "is …", such as "a sparse tensor". */
  readonly kind: string;

  constructor(kind: string, className: string, args: readonly PickleValue[]) {
    super(className, args);
    this.kind = kind;
  }
}

const rebuildTensorV2 = new PickleClass("torch._utils._rebuild_tensor_v2", rebuildTensor);

/** Functions that create tensors of kinds that are not supported. */
const unsupportedKinds: Readonly<Record<string, string>> = {
  _rebuild_qtensor: "a quantized tensor",
  _rebuild_sparse_tensor: "a sparse tensor",
  _rebuild_sparse_csr_tensor: "a sparse tensor",
  _rebuild_nested_tensor: "a nested tensor",
  _rebuild_meta_tensor_no_storage: "a meta tensor, which has no data",
  _rebuild_device_tensor_from_numpy: "stored as a numpy array",
  _rebuild_wrapper_subclass: "a tensor subclass",
};

const classes: ReadonlyMap<string, PickleClass> = new Map(
  [
    ...Object.entries(storageTypes).map(([name, type]) => new StorageClass(`torch.${name}`, type)),
    ...Object.entries(unsupportedKinds).map(([name, kind]) => unsupported(`torch._utils.${name}`, kind)),
    rebuildTensorV2,
    new PickleClass("torch._utils._rebuild_tensor", rebuildTensor),
    new PickleClass("torch._utils._rebuild_tensor_v3", rebuildTypedTensor),
    new PickleClass("torch._tensor._rebuild_from_type_v2", rebuildFromType),
    // These return their first argument, which is a tensor; the others are attributes.
    ...[
      "torch._utils._rebuild_parameter",
      "torch._utils._rebuild_parameter_with_state",
      "torch._utils._rebuild_device_tensor_from_cpu_tensor",
      "torch.nn.parameter.Parameter",
      "torch.nn.parameter.Buffer",
    ].map((name) => new PickleClass(name, ([data = null]) => data)),
    new PickleClass("torch.Size", ([dims = []]) => dims),
    orPlaceholder("torch.device", deviceName),
    new PickleClass("collections.OrderedDict", orderedDict),
    orPlaceholder("collections.Counter", ([counts]) =>
      counts instanceof Map ? named("collections.Counter", counts) : undefined,
    ),
    ...["builtins.set", "builtins.frozenset", "builtins.list", "builtins.tuple"].map((name) =>
      orPlaceholder(name, ([items = []]) => (Array.isArray(items) ? items : undefined)),
    ),
    orPlaceholder("builtins.bytearray", encoded),
    orPlaceholder("_codecs.encode", encoded),
    orPlaceholder("numpy.core.multiarray.scalar", numpyScalar),
    orPlaceholder("numpy._core.multiarray.scalar", numpyScalar),
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
      if (tag !== "storage" || !(storageClass instanceof PickleClass)) {
        throw refused("a persistent id does not refer to a known storage");
      }
      if (typeof key !== "string" || typeof length !== "number") throw refused("a storage has no key or length");
      const type = storageType(storageClass);
      if (type === undefined) return new PickleObject(storageClass.name, []);
      const known = storages.get(key);
      if (known?.type === type && known.length === length) return known;
      const record = storageRecord(key);
      if (!record) throw refused(`record data/${key} of a storage is missing`);
      const storage = new TorchStorage(type, length, record);
      storages.set(key, storage);
      return storage;
    },
  };
}

/** undefined for types that are not supported, such as complex and quantized numbers. */
function storageType(storageClass: PickleClass): ElementType | undefined {
  if (storageClass.name === UNTYPED_STORAGE) return "uint8";
  return storageClass instanceof StorageClass ? storageClass.type : undefined;
}

function unsupported(name: string, kind: string): PickleClass {
  return new PickleClass(name, (args) => new UnsupportedTensor(kind, name, args));
}

/** A class whose calls have a value in some cases; in all others they become placeholders. */
function orPlaceholder(name: string, call: (args: readonly PickleValue[]) => PickleValue | undefined): PickleClass {
  return new PickleClass(name, (args) => call(args) ?? new PickleObject(name, args));
}

/**
 * `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks, metadata=None)`; the first version
 * has only the first four arguments.
 */
function rebuildTensor(args: readonly PickleValue[]): PickleValue {
  const [storage, offset, size, strides, , , metadata] = args;
  const refuseKind = (kind: string) => new UnsupportedTensor(kind, rebuildTensorV2.name, args);
  if (storage instanceof PickleObject) return refuseKind(`in a ${storage.className}`);
  if (!(storage instanceof TorchStorage) || typeof offset !== "number") {
    throw refused("a tensor has no storage or offset");
  }
  if (metadata instanceof Map && metadata.size > 0) return refuseKind("lazily negated or conjugated");
  return storage.tensor(offset, numbers(size), numbers(strides));
}

/** `_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, backward_hooks, dtype, metadata=None)` */
function rebuildTypedTensor(args: readonly PickleValue[]): PickleValue {
  const [storage, offset, size, strides, gradient = null, hooks = null, dtype, metadata = null] = args;
  if (!(dtype instanceof PickleClass)) throw refused("a tensor in an untyped storage has no dtype");
  const type = dtypes.get(dtype.name);
  if (!type) return new UnsupportedTensor(`of ${dtype.name}`, "torch._utils._rebuild_tensor_v3", args);
  if (!(storage instanceof TorchStorage)) throw refused("a tensor has no storage or offset");
  return rebuildTensor([storage.as(type), offset ?? null, size ?? null, strides ?? null, gradient, hooks, metadata]);
}

/**
 * `_rebuild_from_type_v2(function, type, args, state)`: a tensor with attributes, or of a subclass without data of its
 * own.
 */
function rebuildFromType([rebuild, , args]: readonly PickleValue[]): PickleValue {
  const isRebuild = rebuild instanceof PickleClass && rebuild.name.startsWith("torch._utils._rebuild_");
  if (!isRebuild || !Array.isArray(args)) throw refused("a tensor with attributes has no data");
  return rebuild.call(args);
}

function numbers(value: PickleValue | undefined): number[] {
  const isNumbers = Array.isArray(value) && value.length <= MAX_RANK && value.every((item) => typeof item === "number");
  if (!isNumbers) throw refused(`the shape or the strides of a tensor are not up to ${MAX_RANK} numbers`);
  return [...value];
}

/** `cpu`, `cuda:0` */
function deviceName(parts: readonly PickleValue[]): string | undefined {
  return parts.every((part) => typeof part === "string" || typeof part === "number") ? parts.join(":") : undefined;
}

/** Pickles from Python 2 pass the items to the constructor as pairs; newer ones set them afterwards. */
function orderedDict([pairs = []]: readonly PickleValue[]): PickleValue {
  if (!Array.isArray(pairs)) throw refused("an OrderedDict is made from a value that is not a list");
  return new Map(
    pairs.map((pair) => {
      if (!Array.isArray(pair)) throw refused("an OrderedDict has an item that is not a pair");
      const [key = null, value = null] = pair;
      return [key, value];
    }),
  );
}

function named(className: string, items: ReadonlyMap<PickleValue, PickleValue>): PickleObject {
  const object = new PickleObject(className, []);
  for (const [key, value] of items) object.set(key, value);
  return object;
}

/** `bytearray(bytes)`; `encode(text, "latin1")` and `bytearray(text, "latin-1")`, as protocol 2 stores bytes. */
function encoded([content, encoding = "latin1"]: readonly PickleValue[]): Uint8Array | undefined {
  if (content === undefined) return new Uint8Array();
  if (content instanceof Uint8Array) return content;
  const isLatin1 = encoding === "latin1" || encoding === "latin-1";
  return typeof content === "string" && isLatin1 ? new Uint8Array(Buffer.from(content, "latin1")) : undefined;
}

function refused(cause: string): EpalmError {
  return new EpalmError("invalid_checkpoint", `pickle: ${cause}`);
}
