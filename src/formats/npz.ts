/**
 * Checkpoints of google-research/vision_transformer and big_vision (`.npz`), such as the augreg ViTs that eP-ALM uses:
 * a zip archive of arrays (`.npy`) with flax's names. They are given timm's names and layouts, as by `_load_weights` of
 * timm's `vision_transformer.py`; queries, keys and values remain separate.
 */
import { EpalmError, messageOf } from "../core/errors.js";
import { type ElementType, elementCount, type Shape, type TensorSource } from "../tensor/tensor.js";
import type { Checkpoint } from "./checkpoint.js";
import { invalidCheckpoint } from "./invalid-checkpoint.js";
import { MAX_RANK } from "./limits.js";
import { RandomAccessFile } from "./random-access-file.js";
import { rowMajorStrides } from "./strided.js";
import { TorchStorage } from "./torch-storage.js";
import { readZipRecords, type ZipRecord } from "./zip-records.js";

/** Where the same weights are published in a format that is always supported. */
const ELSEWHERE =
  "the Hugging Face Hub has the same weights as safetensors: timm/vit_base_patch16_224.augreg_in21k_ft_in1k and similar";

/** A header contains a type and a shape. */
const MAX_HEADER_BYTES = 4096;

/** numpy's types; flax writes bfloat16 as two bytes without a type. */
const types: ReadonlyMap<string, ElementType> = new Map([
  ["<f8", "float64"],
  ["<f4", "float32"],
  ["<f2", "float16"],
  ["|V2", "bfloat16"],
  ["<i8", "int64"],
  ["<i4", "int32"],
  ["|u1", "uint8"],
]);

/** An array of the archive. */
interface NpyArray {
  readonly shape: Shape;
  readonly storage: TorchStorage;
}

/**
 * Opens a checkpoint in numpy's format. Reading a tensor loads only that tensor.
 *
 * @throws `not_found`; `invalid_checkpoint`, naming the file, the cause and where the same weights are published
 */
export async function openNpz(path: string): Promise<Checkpoint> {
  const file = new RandomAccessFile(path);
  try {
    const tensors = new Map<string, TensorSource>();
    for (const record of (await readZipRecords(file)).values()) {
      const name = record.name.replace(/\.npy$/, "").replace(/^(opt\/target|params)\//, "");
      const [timmName, layout] = named(name);
      tensors.set(timmName, layout(readArray(record)));
    }
    if (!tensors.has("patch_embed.proj.weight")) throw damaged("contains no array embedding/kernel");
    return { path, tensors, metadata: {}, close: () => file.close() };
  } catch (error) {
    file.close();
    if (!(error instanceof EpalmError)) throw error;
    throw invalidCheckpoint(path, `${messageOf(error).replace(`${path}: `, "")}; ${ELSEWHERE}`);
  }
}

type Layout = (array: NpyArray) => TensorSource;

const unchanged: Layout = ({ shape, storage }) => storage.tensor(0, shape, rowMajorStrides(shape));

/** As one axis: [heads, head size] -> [d] */
const flat: Layout = ({ shape, storage }) => storage.tensor(0, [elementCount(shape)], [1]);

/** A linear [...inputs, ...outputs] -> [out, in], where the first `axes` axes are inputs. */
function linear(axes: number): Layout {
  return ({ shape, storage }) => {
    const [inputs, outputs] = [elementCount(shape.slice(0, axes)), elementCount(shape.slice(axes))];
    return storage.tensor(0, [outputs, inputs], [1, outputs]);
  };
}

/** A convolution [height, width, in, out] -> [out, in, height, width] */
const convolution: Layout = ({ shape, storage }) => {
  const [height = 0, width = 0, inputs = 0, outputs = 0] = shape;
  if (shape.length !== 4) throw damaged(`embedding/kernel: expected 4 axes, got ${shape.length}`);
  return storage.tensor(0, [outputs, inputs, height, width], [1, outputs, width * inputs * outputs, inputs * outputs]);
};

const outer: Readonly<Record<string, readonly [string, Layout]>> = {
  cls: ["cls_token", unchanged],
  "embedding/kernel": ["patch_embed.proj.weight", convolution],
  "embedding/bias": ["patch_embed.proj.bias", unchanged],
  "Transformer/posembed_input/pos_embedding": ["pos_embed", unchanged],
  pos_embedding: ["pos_embed", unchanged],
  "Transformer/encoder_norm/scale": ["norm.weight", unchanged],
  "Transformer/encoder_norm/bias": ["norm.bias", unchanged],
};

/** Parts of a block. Indices count modules: those of vision_transformer go up to 3, those of big_vision to 1. */
const parts: readonly (readonly [RegExp, string, Layout])[] = [
  [/^LayerNorm_0\/scale$/, "norm1.weight", unchanged],
  [/^LayerNorm_0\/bias$/, "norm1.bias", unchanged],
  [/^LayerNorm_[12]\/scale$/, "norm2.weight", unchanged],
  [/^LayerNorm_[12]\/bias$/, "norm2.bias", unchanged],
  ...["query", "key", "value"].flatMap((part): [RegExp, string, Layout][] => [
    [new RegExp(`^MultiHeadDotProductAttention_[01]/${part}/kernel$`), `attn.${part[0]}.weight`, linear(1)],
    [new RegExp(`^MultiHeadDotProductAttention_[01]/${part}/bias$`), `attn.${part[0]}.bias`, flat],
  ]),
  [/^MultiHeadDotProductAttention_[01]\/out\/kernel$/, "attn.proj.weight", linear(2)],
  [/^MultiHeadDotProductAttention_[01]\/out\/bias$/, "attn.proj.bias", unchanged],
  [/^MlpBlock_[03]\/Dense_0\/kernel$/, "mlp.fc1.weight", linear(1)],
  [/^MlpBlock_[03]\/Dense_0\/bias$/, "mlp.fc1.bias", unchanged],
  [/^MlpBlock_[03]\/Dense_1\/kernel$/, "mlp.fc2.weight", linear(1)],
  [/^MlpBlock_[03]\/Dense_1\/bias$/, "mlp.fc2.bias", unchanged],
];

/** timm's name and layout of an array; arrays of other parts, such as heads, only get dots in their names. */
function named(name: string): readonly [string, Layout] {
  const [, index, part = ""] = /^Transformer\/encoderblock_(\d+)\/(.+)$/.exec(name) ?? [];
  const [, timmPart, layout] = parts.find(([pattern]) => index !== undefined && pattern.test(part)) ?? [];
  if (timmPart !== undefined && layout) return [`blocks.${index}.${timmPart}`, layout];
  const known = Object.hasOwn(outer, name) ? outer[name] : undefined;
  return known ?? [name.replaceAll("/", "."), unchanged];
}

/** Format: numpy's `lib/format.py`, versions 1 to 3. */
function readArray(record: ZipRecord): NpyArray {
  const start = record.read(0, Math.min(12, record.size));
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  const isArray = start.length === 12 && Buffer.from(start.subarray(1, 6)).toString("latin1") === "NUMPY";
  if (!isArray || start[0] !== 0x93) throw damaged(`record ${record.name} is not an array of numpy`);
  const [headerStart, length] = start[6] === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const dataStart = headerStart + length;
  if (length > MAX_HEADER_BYTES || dataStart > record.size) throw damaged(`record ${record.name} has a damaged header`);
  const header = Buffer.from(record.read(headerStart, dataStart)).toString("latin1");
  const type = types.get(/'descr': *'([^']+)'/.exec(header)?.[1] ?? "");
  const dims = /'shape': *\(([\d, ]*)\)/.exec(header)?.[1];
  if (!type || dims === undefined || !/'fortran_order': *False/.test(header)) {
    throw damaged(`record ${record.name}: ${header.trim()} is not supported`);
  }
  const shape = dims.split(",").flatMap((dim) => (dim.trim() === "" ? [] : [Number(dim)]));
  if (shape.length > MAX_RANK) throw damaged(`record ${record.name} has ${shape.length} axes`);
  const content = {
    name: record.name,
    size: record.size - dataStart,
    read: (from = 0, to = record.size - dataStart) => record.read(dataStart + from, dataStart + to),
  };
  return { shape, storage: new TorchStorage(type, elementCount(shape), content) };
}

function damaged(cause: string): EpalmError {
  return new EpalmError("invalid_checkpoint", cause);
}
