/**
 * PyTorch checkpoints (`.pth`, `.pt`, `.bin`, `.pyth`) as written by `torch.save` since 1.6: a zip archive that
 * contains, in one folder of any name, `data.pkl`, `byteorder` and an uncompressed record for each storage.
 */
import { EpalmError } from "../core/errors.js";
import type { TensorSource } from "../tensor/tensor.js";
import type { Checkpoint, OpenLimits } from "./checkpoint.js";
import { invalidCheckpoint, namingFile, unsupportedTensor } from "./invalid-checkpoint.js";
import { PickleObject, type PickleValue, unpickle } from "./pickle.js";
import { RandomAccessFile } from "./random-access-file.js";
import { torchDialect, UnsupportedTensor } from "./torch-classes.js";
import { readZipRecords, type ZipRecord } from "./zip-records.js";

/** The pickle refers to tensors but does not contain them; published pickles have at most a few MB. */
const MAX_PICKLE_BYTES = 64 * 1024 * 1024;
/** `byteorder` contains `little` or `big`. */
const MAX_BYTEORDER_BYTES = 16;

/** Keys under which published checkpoints store their tensors if they are not at the top level. */
export const STATE_DICT_KEYS = [
  "model",
  "model_state",
  "model_state_dict",
  "state_dict",
  "module",
  "teacher",
  "target_encoder",
  "encoder",
] as const;

/** A pickle outside a zip archive begins with the opcode PROTO and a protocol version. */
const PICKLE_MAGIC = 0x80;
/** `PK\x03\x04`, little-endian. */
const ZIP_MAGIC = 0x04034b50;

/** A tensor takes about 35; the rest is for a config and the state of an optimizer next to the tensors. */
const OPCODES_PER_TENSOR = 200;

export type TorchFormat = "zip" | "legacy" | "other";

/** The torch format to which the first bytes of a file belong. */
export function torchFormat(start: Uint8Array): TorchFormat {
  if (start.length < 4) return "other";
  const magic = new DataView(start.buffer, start.byteOffset).getUint32(0, true);
  if (magic === ZIP_MAGIC) return "zip";
  return start[0] === PICKLE_MAGIC ? "legacy" : "other";
}

/**
 * Opens a torch file without running any code in it. `tensors` contains the dict of tensors at the top level or under
 * one of `STATE_DICT_KEYS`, with unchanged names; `root` contains everything else.
 *
 * @throws `not_found`; `invalid_checkpoint`, naming the file, the cause and any hostile function
 */
export async function openTorchFile(path: string, limits: OpenLimits = {}): Promise<Checkpoint> {
  const file = new RandomAccessFile(path);
  try {
    refuseOtherFormats(file);
    const records = await readZipRecords(file);
    const root = readRoot(records, limits);
    return { path, ...findTensors(path, root), metadata: {}, root, close: () => file.close() };
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
      "has torch's format from before 1.6 (a bare pickle); load it with torch and save it again",
    );
  }
  if (format === "other")
    throw invalidCheckpoint(file.path, "is not a torch file: it does not begin like a zip archive");
}

function readRoot(records: ReadonlyMap<string, ZipRecord>, { maxTensors }: OpenLimits): PickleValue {
  const [pickle, another] = [...records.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
  if (!pickle || another) throw damaged(`expected one record */data.pkl, got ${another ? "several" : "none"}`);
  const folder = pickle.name.slice(0, -"data.pkl".length);
  refuseBigEndian(records.get(`${folder}byteorder`));
  return unpickle(
    readBounded(pickle, MAX_PICKLE_BYTES),
    torchDialect((key) => records.get(`${folder}data/${key}`)),
    maxTensors === undefined ? {} : { maxOpcodes: maxTensors * OPCODES_PER_TENSOR },
  );
}

/** Files from before torch 2.1 do not have this record and are little-endian. */
function refuseBigEndian(record: ZipRecord | undefined): void {
  if (!record) return;
  const order = new TextDecoder().decode(readBounded(record, MAX_BYTEORDER_BYTES));
  if (order !== "little") throw damaged(`byteorder is ${order}, only little is supported`);
}

function readBounded(record: ZipRecord, maxBytes: number): Uint8Array {
  if (record.size > maxBytes) {
    throw damaged(`record ${record.name} has ${record.size} bytes, expected at most ${maxBytes}`);
  }
  return record.read();
}

type StateDict = Pick<Checkpoint, "tensors"> & Required<Pick<Checkpoint, "unsupported">>;

function findTensors(path: string, root: PickleValue): StateDict {
  if (!(root instanceof Map)) throw damaged("contains no dict of tensors");
  for (const candidate of [...STATE_DICT_KEYS.map((key) => root.get(key)), root]) {
    if (!(candidate instanceof Map)) continue;
    const found = tensorsOf(candidate);
    if (found.tensors.size > 0) return found;
    for (const unsupported of found.unsupported) throw unsupportedTensor(path, ...unsupported);
  }
  if (root instanceof PickleObject)
    throw damaged(`contains an object of ${root.className} instead of a dict of tensors`);
  const keys = [...root.keys()].slice(0, 10).map(keyName).join(", ");
  throw damaged(
    `contains no tensors at the top level or under ${STATE_DICT_KEYS.join(", ")}; found ${keys || "no keys"}`,
  );
}

function keyName(key: PickleValue): string {
  return typeof key === "object" && key !== null ? "a key that is not a string" : String(key);
}

/** The tensors of a state dict. `_extra_state` and other values that are not tensors remain only in `root`. */
function tensorsOf(dict: ReadonlyMap<PickleValue, PickleValue>): StateDict {
  const tensors = new Map<string, TensorSource>();
  const unsupported = new Map<string, string>();
  for (const [name, value] of dict) {
    if (typeof name !== "string") continue;
    if (isTensor(value)) tensors.set(name, value);
    else if (value instanceof UnsupportedTensor) unsupported.set(name, value.kind);
  }
  return { tensors, unsupported };
}

function isTensor(value: PickleValue): value is TensorSource {
  return typeof value === "object" && value !== null && "read" in value;
}

function damaged(cause: string): EpalmError {
  return new EpalmError("invalid_checkpoint", cause);
}
