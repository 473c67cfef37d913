/**
 * PyTorch checkpoints (`.pth`, `.pt`, `.bin`, `.pyth`) as `torch.save` has written them since 1.6: a zip
 * archive, in one folder of any name, of `data.pkl`, `byteorder` and one stored record per storage.
 */
import { EpalmError } from "../core/errors.js";
import type { TensorSource } from "../tensor/tensor.js";
import type { Checkpoint } from "./checkpoint.js";
import { invalidCheckpoint, namingFile } from "./invalid-checkpoint.js";
import { type PickleKey, type PickleValue, unpickle } from "./pickle.js";
import { RandomAccessFile } from "./random-access-file.js";
import { torchDialect } from "./torch-classes.js";
import { readZipRecords, type ZipRecord } from "./zip-records.js";

/** The pickle names tensors, it does not hold them: published ones have at most a few MB. */
const MAX_PICKLE_BYTES = 64 * 1024 * 1024;
/** `byteorder` says `little` or `big`. */
const MAX_BYTEORDER_BYTES = 16;

/** Where published checkpoints keep their tensors, if not at the top. */
export const STATE_DICT_KEYS = ["model", "model_state", "state_dict", "module"] as const;

/** A pickle that is not in a zip archive begins with the opcode PROTO and a protocol. */
const PICKLE_MAGIC = 0x80;
/** `PK\x03\x04`, little-endian. */
const ZIP_MAGIC = 0x04034b50;

export type TorchFormat = "zip" | "legacy" | "other";

/** Which of torch's formats the first bytes of a file belong to. */
export function torchFormat(start: Uint8Array): TorchFormat {
  if (start.length < 4) return "other";
  const magic = new DataView(start.buffer, start.byteOffset).getUint32(0, true);
  if (magic === ZIP_MAGIC) return "zip";
  return start[0] === PICKLE_MAGIC ? "legacy" : "other";
}

/**
 * Opens a torch file without running anything in it. `tensors` is the dict of tensors at the top or
 * under one of `STATE_DICT_KEYS`, its names as they are; all else is in `root`.
 * Throws `not_found`, or `invalid_checkpoint` with the file, the cause, and any class it refused.
 */
export async function openTorchFile(path: string): Promise<Checkpoint> {
  const file = new RandomAccessFile(path);
  try {
    refuseOtherFormats(file);
    const records = await readZipRecords(file);
    const root = readRoot(records);
    return { path, tensors: findTensors(root), metadata: {}, root, close: () => file.close() };
  } catch (error) {
    file.close();
    throw namingFile(path, error);
  }
}

function refuseOtherFormats(file: RandomAccessFile): void {
  const format = torchFormat(file.read(0, Math.min(4, file.size)));
  if (format === "legacy") {
    throw invalidCheckpoint(
      file.path,
      "is of torch's format before 1.6 (a bare pickle); load it in torch and save it again",
    );
  }
  if (format === "other")
    throw invalidCheckpoint(file.path, "is no torch file: it does not begin as a zip archive");
}

function readRoot(records: ReadonlyMap<string, ZipRecord>): PickleValue {
  const [pickle, another] = [...records.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
  if (!pickle || another)
    throw damaged(`expected one record */data.pkl, got ${another ? "several" : "none"}`);
  const folder = pickle.name.slice(0, -"data.pkl".length);
  refuseBigEndian(records.get(`${folder}byteorder`));
  return unpickle(
    readBounded(pickle, MAX_PICKLE_BYTES),
    torchDialect((key) => records.get(`${folder}data/${key}`)),
  );
}

/** Files from before torch 2.1 have no such record, and are little-endian. */
function refuseBigEndian(record: ZipRecord | undefined): void {
  if (!record) return;
  const order = new TextDecoder().decode(readBounded(record, MAX_BYTEORDER_BYTES));
  if (order !== "little") throw damaged(`byteorder is ${order}, only little is supported`);
}

function readBounded(record: ZipRecord, maxBytes: number): Uint8Array {
  if (record.size > maxBytes) {
    throw damaged(`record ${record.name} has ${record.size} bytes, at most ${maxBytes} are read`);
  }
  return record.read();
}

function findTensors(root: PickleValue): ReadonlyMap<string, TensorSource> {
  if (!(root instanceof Map)) throw damaged("holds no dict of tensors");
  for (const candidate of [...STATE_DICT_KEYS.map((key) => root.get(key)), root]) {
    const tensors = candidate instanceof Map ? tensorsOf(candidate) : new Map();
    if (tensors.size > 0) return tensors;
  }
  const keys = [...root.keys()].slice(0, 10).join(", ");
  throw damaged(
    `holds no tensors at its top or under ${STATE_DICT_KEYS.join(", ")}; it has ${keys || "no keys"}`,
  );
}

/** Of a state dict; `_extra_state` and other values that are no tensors remain in `root` only. */
function tensorsOf(dict: ReadonlyMap<PickleKey, PickleValue>): Map<string, TensorSource> {
  const tensors = new Map<string, TensorSource>();
  for (const [name, value] of dict) {
    if (typeof name === "string" && isTensor(value)) tensors.set(name, value);
  }
  return tensors;
}

function isTensor(value: PickleValue): value is TensorSource {
  return typeof value === "object" && value !== null && "read" in value;
}

function damaged(cause: string): EpalmError {
  return new EpalmError("invalid_checkpoint", cause);
}
