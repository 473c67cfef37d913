/**
 * Reads Python pickles without Python: values of built-in types, and of classes that the caller allows. Nothing that
 * a pickle names is ever looked up, imported or run. Opcodes:
 * https://github.com/python/cpython/blob/3.13/Lib/pickletools.py, protocols 2 to 5.
 */
import { EpalmError } from "../core/errors.js";
import type { TensorSource } from "../tensor/tensor.js";
import { ByteReader } from "./byte-reader.js";
import type { TorchStorage } from "./torch-storage.js";

/**
 * A tensor takes about 35 opcodes, so this allows more than 50,000 tensors. One empty dict per opcode stays below 0.5
 * GB.
 */
const MAX_OPCODES = 2_000_000;
/** Integers are counts, sizes and seeds; Python's largest seed has 64 bits and a sign. */
const MAX_INTEGER_BYTES = 9;
/** Module and class names are short. The limit also bounds the search for the end of a name. */
const MAX_NAME_BYTES = 256;
const MIN_PROTOCOL = 2;
const MAX_PROTOCOL = 5;

export type PickleKey = string | number | bigint | boolean | null;

/**
 * Lists, tuples and sets become arrays; dicts and records become Maps, so that no key can modify a prototype
 * (`__proto__`). Values of a hostile pickle can contain themselves, so code that traverses them must terminate.
 */
export type PickleValue =
  | PickleKey
  | Uint8Array
  | PickleValue[]
  | Map<PickleKey, PickleValue>
  | PickleClass
  | TorchStorage
  | TensorSource;

/** A class or function that a pickle may name, and the function that replaces calls of it. */
export class PickleClass {
  readonly name: string;
  readonly call: (args: readonly PickleValue[]) => PickleValue;

  constructor(name: string, call: (args: readonly PickleValue[]) => PickleValue) {
    this.name = name;
    this.call = call;
  }
}

/** An object that consists of attributes only, such as `argparse.Namespace`. */
export class PickleRecord extends Map<PickleKey, PickleValue> {}

/** The external names and ids that a pickle may refer to. */
export interface PickleDialect {
  /** Allowed classes by full name, such as `collections.OrderedDict`. All others are rejected. */
  readonly classes: ReadonlyMap<string, PickleClass>;
  /** The value of a persistent id. */
  persistent(id: PickleValue): PickleValue;
}

/**
 * Unpickles an object. @throws `invalid_checkpoint` with the cause, including the name of a class that is not allowed
 */
export function unpickle(bytes: Uint8Array, dialect: PickleDialect): PickleValue {
  const machine = new PickleMachine(bytes, dialect);
  for (let count = 0; count < MAX_OPCODES; count++) {
    const opcode = machine.input.uint8();
    if (opcode === STOP) return machine.pop();
    const operation = operations.get(opcode);
    if (!operation) {
      throw refused(`opcode 0x${opcode.toString(16)} at byte ${machine.input.position - 1} is not supported`);
    }
    operation(machine);
  }
  throw refused(`has more than ${MAX_OPCODES} opcodes`);
}

function refused(cause: string): EpalmError {
  return new EpalmError("invalid_checkpoint", `pickle ${cause}`);
}

/** The stack machine that executes a pickle. Each mark opens a new stack frame. */
class PickleMachine {
  readonly input: ByteReader;
  readonly dialect: PickleDialect;
  readonly memo = new Map<number, PickleValue>();
  #frame: PickleValue[] = [];
  readonly #outerFrames: PickleValue[][] = [];

  constructor(bytes: Uint8Array, dialect: PickleDialect) {
    this.input = new ByteReader(bytes);
    this.dialect = dialect;
  }

  push(value: PickleValue): void {
    this.#frame.push(value);
  }

  pop(): PickleValue {
    const value = this.#frame.pop();
    if (value === undefined) throw refused(`pops from an empty stack at byte ${this.input.position}`);
    return value;
  }

  top(): PickleValue {
    const value = this.pop();
    this.push(value);
    return value;
  }

  /** The last `count` values, in the order in which they were pushed. */
  popMany(count: number): PickleValue[] {
    return Array.from({ length: count }, () => this.pop()).reverse();
  }

  mark(): void {
    this.#outerFrames.push(this.#frame);
    this.#frame = [];
  }

  /** All values above the last mark. */
  popMark(): PickleValue[] {
    const values = this.#frame;
    const outer = this.#outerFrames.pop();
    if (!outer) throw refused(`lacks a mark at byte ${this.input.position}`);
    this.#frame = outer;
    return values;
  }

  remember(index: number): void {
    this.memo.set(index, this.top());
  }

  recall(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) throw refused(`reads memo entry ${index}, which was never stored`);
    this.push(value);
  }

  pushClass(name: string): void {
    const known = this.dialect.classes.get(name);
    if (!known) {
      throw refused(
        `names ${name}, which is not allowed: only tensors, containers, numbers and strings are read, no code is run`,
      );
    }
    this.push(known);
  }
}

type Operation = (machine: PickleMachine) => void;

const STOP = 0x2e;

const operations: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  // Framing
  [0x80, checkProtocol], // PROTO
  [0x95, (machine) => machine.input.uint64()], // FRAME: a hint for stream readers
  // Constants and numbers
  [0x4e, (machine) => machine.push(null)], // NONE
  [0x88, (machine) => machine.push(true)], // NEWTRUE
  [0x89, (machine) => machine.push(false)], // NEWFALSE
  [0x4a, (machine) => machine.push(machine.input.int32())], // BININT
  [0x4b, (machine) => machine.push(machine.input.uint8())], // BININT1
  [0x4d, (machine) => machine.push(machine.input.uint16())], // BININT2
  [0x8a, (machine) => machine.push(readInteger(machine.input, machine.input.uint8()))], // LONG1
  [0x8b, (machine) => machine.push(readInteger(machine.input, machine.input.uint32()))], // LONG4
  [0x47, (machine) => machine.push(machine.input.float64BigEndian())], // BINFLOAT
  // Strings and bytes
  [0x8c, (machine) => machine.push(machine.input.text(machine.input.uint8()))], // SHORT_BINUNICODE
  [0x58, (machine) => machine.push(machine.input.text(machine.input.uint32()))], // BINUNICODE
  [0x8d, (machine) => machine.push(machine.input.text(machine.input.uint64()))], // BINUNICODE8
  [0x55, (machine) => machine.push(machine.input.text(machine.input.uint8()))], // SHORT_BINSTRING
  [0x54, (machine) => machine.push(machine.input.text(machine.input.uint32()))], // BINSTRING
  [0x43, (machine) => machine.push(new Uint8Array(machine.input.bytes(machine.input.uint8())))], // SHORT_BINBYTES
  [0x42, (machine) => machine.push(new Uint8Array(machine.input.bytes(machine.input.uint32())))], // BINBYTES
  [0x8e, (machine) => machine.push(new Uint8Array(machine.input.bytes(machine.input.uint64())))], // BINBYTES8
  // Lists, tuples and sets
  [0x5d, (machine) => machine.push([])], // EMPTY_LIST
  [0x8f, (machine) => machine.push([])], // EMPTY_SET
  [0x29, (machine) => machine.push([])], // EMPTY_TUPLE
  [0x61, (machine) => append(machine, machine.popMany(1))], // APPEND
  [0x65, (machine) => append(machine, machine.popMark())], // APPENDS
  [0x90, (machine) => append(machine, machine.popMark())], // ADDITEMS
  [0x6c, (machine) => machine.push(machine.popMark())], // LIST
  [0x74, (machine) => machine.push(machine.popMark())], // TUPLE
  [0x91, (machine) => machine.push(machine.popMark())], // FROZENSET
  [0x85, (machine) => machine.push(machine.popMany(1))], // TUPLE1
  [0x86, (machine) => machine.push(machine.popMany(2))], // TUPLE2
  [0x87, (machine) => machine.push(machine.popMany(3))], // TUPLE3
  // Dicts
  [0x7d, (machine) => machine.push(new Map())], // EMPTY_DICT
  [0x64, (machine) => machine.push(setItems(new Map(), machine.popMark()))], // DICT
  [0x73, (machine) => addToDict(machine, machine.popMany(2))], // SETITEM
  [0x75, (machine) => addToDict(machine, machine.popMark())], // SETITEMS
  // Stack and memo
  [0x28, (machine) => machine.mark()], // MARK
  [0x30, (machine) => machine.pop()], // POP
  [0x31, (machine) => machine.popMark()], // POP_MARK
  [0x32, (machine) => machine.push(machine.top())], // DUP
  [0x71, (machine) => machine.remember(machine.input.uint8())], // BINPUT
  [0x72, (machine) => machine.remember(machine.input.uint32())], // LONG_BINPUT
  [0x94, (machine) => machine.remember(machine.memo.size)], // MEMOIZE
  [0x68, (machine) => machine.recall(machine.input.uint8())], // BINGET
  [0x6a, (machine) => machine.recall(machine.input.uint32())], // LONG_BINGET
  // Classes and objects
  [0x63, pushGlobal], // GLOBAL
  [0x93, pushStackGlobal], // STACK_GLOBAL
  [0x52, callClass], // REDUCE
  [0x81, callClass], // NEWOBJ
  [0x62, setState], // BUILD
  [0x51, (machine) => machine.push(machine.dialect.persistent(machine.pop()))], // BINPERSID
]);

function checkProtocol(machine: PickleMachine): void {
  const protocol = machine.input.uint8();
  if (protocol < MIN_PROTOCOL || protocol > MAX_PROTOCOL) {
    throw refused(`uses protocol ${protocol}, expected ${MIN_PROTOCOL} to ${MAX_PROTOCOL}`);
  }
}

/** Two's complement, little-endian; a number if it is exact, otherwise a bigint. */
function readInteger(input: ByteReader, length: number): number | bigint {
  if (length > MAX_INTEGER_BYTES) {
    throw refused(`contains an integer of ${length} bytes, expected at most ${MAX_INTEGER_BYTES}`);
  }
  const unsigned = input.bytes(length).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  const value = BigInt.asIntN(8 * length, unsigned);
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function append(machine: PickleMachine, values: readonly PickleValue[]): void {
  const list = machine.top();
  if (!Array.isArray(list)) throw refused(`appends to a value that is not a list at byte ${machine.input.position}`);
  for (const value of values) list.push(value);
}

function addToDict(machine: PickleMachine, items: readonly PickleValue[]): void {
  const dict = machine.top();
  if (!(dict instanceof Map))
    throw refused(`sets items of a value that is not a dict at byte ${machine.input.position}`);
  setItems(dict, items);
}

/** `items` alternates keys and values. */
function setItems(dict: Map<PickleKey, PickleValue>, items: readonly PickleValue[]): PickleValue {
  if (items.length % 2 !== 0) throw refused("has a dict key without a value");
  for (let index = 0; index < items.length; index += 2) {
    dict.set(pickleKey(items[index]), items[index + 1] ?? null);
  }
  return dict;
}

/** Dict keys are compared by value, so only values that a Map compares in the same way are accepted. */
export function pickleKey(value: PickleValue | undefined): PickleKey {
  if (value === null || value === undefined) return null;
  if (typeof value === "object") throw refused("has a dict key that is neither a string nor a number");
  return value;
}

function pushGlobal(machine: PickleMachine): void {
  const module = machine.input.line(MAX_NAME_BYTES);
  machine.pushClass(`${module}.${machine.input.line(MAX_NAME_BYTES)}`);
}

function pushStackGlobal(machine: PickleMachine): void {
  const [module, name] = machine.popMany(2);
  if (typeof module !== "string" || typeof name !== "string")
    throw refused("names a class by a value that is not a string");
  machine.pushClass(`${module}.${name}`);
}

function callClass(machine: PickleMachine): void {
  const [callee, args] = machine.popMany(2);
  if (!(callee instanceof PickleClass) || !Array.isArray(args)) {
    throw refused(`calls a value that is not a class at byte ${machine.input.position}`);
  }
  machine.push(callee.call(args));
}

/** Keeps the attributes of records; those of an OrderedDict (`_metadata` of a state dict) are not needed. */
function setState(machine: PickleMachine): void {
  const state = machine.pop();
  const target = machine.top();
  if (!(target instanceof Map) || !(state instanceof Map)) {
    throw refused(`sets attributes of a value that cannot have any at byte ${machine.input.position}`);
  }
  if (!(target instanceof PickleRecord)) return;
  for (const [key, value] of state) target.set(key, value);
}
