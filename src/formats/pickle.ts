/**
 * Reads Python pickles without Python: values of built-in types and of classes that the caller knows. Objects of all
 * other classes become inert placeholders. Nothing that a pickle names is ever looked up, imported or run. Opcodes:
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
/** Torch's restricted loader has the same limit. States of random generators have 128 bits. */
const MAX_INTEGER_BYTES = 255;
/** Bytes of memory, roughly, for an element that a call copies. */
const COST_OF_ELEMENT = 16;
/** Bytes that the calls of a small pickle may copy; arguments of a large one rarely exceed its own size. */
const LEAST_CALL_BUDGET = 1 << 20;
/** Module and class names are short. The limit also bounds the search for the end of a name. */
const MAX_NAME_BYTES = 256;
const MIN_PROTOCOL = 2;
const MAX_PROTOCOL = 5;

/**
 * Functions that a pickle names only to run code when Python loads it. They would not be run here either, but a user
 * should learn that the file is malicious.
 */
const HOSTILE =
  /^(os|posix|nt|sys|subprocess|pty|runpy|importlib|ctypes|socket|shutil|webbrowser)\.|^builtins\.(eval|exec|execfile|compile|open|__import__|apply|input|breakpoint)$/;

/** Modules whose names differ in Python 2, which torch's default protocol uses. */
const PYTHON_2_MODULES: ReadonlyMap<string, string> = new Map([
  ["__builtin__", "builtins"],
  ["copy_reg", "copyreg"],
]);

/**
 * Lists, tuples and sets become arrays; dicts and objects become Maps, so that no key can modify a prototype
 * (`__proto__`). Keys that are objects, such as tuples, are compared by identity. Values of a hostile pickle can
 * contain themselves, so code that traverses them must terminate.
 */
export type PickleValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | PickleClass
  | TorchStorage
  | TensorSource;

/** A class or function that a pickle names, and the function that replaces calls of it. */
export class PickleClass {
  readonly name: string;
  readonly call: (args: readonly PickleValue[]) => PickleValue;

  /** @param call default: creates a placeholder */
  constructor(name: string, call?: (args: readonly PickleValue[]) => PickleValue) {
    this.name = name;
    this.call = call ?? ((args) => new PickleObject(name, args));
  }
}

/**
 * The placeholder of an object: the name of its class and what the pickle says about it. As a Map, it contains its
 * attributes and, for classes derived from dict, its items.
 */
export class PickleObject extends Map<PickleValue, PickleValue> {
  /** The class or function that creates the object in Python, such as `pathlib.PosixPath`. */
  readonly className: string;
  readonly args: readonly PickleValue[];
  /** Elements of classes derived from list or set. */
  readonly elements: PickleValue[] = [];
  /** A state that is not a dict of attributes. */
  state: PickleValue | undefined;

  constructor(className: string, args: readonly PickleValue[]) {
    super();
    this.className = className;
    this.args = args;
  }
}

/** The external names and ids that a pickle may refer to. */
export interface PickleDialect {
  /** Known classes by full name, such as `collections.OrderedDict`. All others become placeholders. */
  readonly classes: ReadonlyMap<string, PickleClass>;
  /** The value of a persistent id. */
  persistent(id: PickleValue): PickleValue;
}

/** Unpickles an object. @throws `invalid_checkpoint` with the cause, including the name of a hostile function */
export function unpickle(
  bytes: Uint8Array,
  dialect: PickleDialect,
  { maxOpcodes = MAX_OPCODES }: { readonly maxOpcodes?: number } = {},
): PickleValue {
  const machine = new PickleMachine(bytes, dialect);
  for (let count = 0; count < maxOpcodes; count++) {
    const opcode = machine.input.uint8();
    if (opcode === STOP) return machine.pop();
    const operation = operations.get(opcode);
    if (!operation) {
      throw refused(`opcode 0x${opcode.toString(16)} at byte ${machine.input.position - 1} is not supported`);
    }
    operation(machine);
  }
  throw refused(`has more than ${maxOpcodes} opcodes`);
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
  #callBudget: number;
  readonly #outerFrames: PickleValue[][] = [];

  constructor(bytes: Uint8Array, dialect: PickleDialect) {
    this.input = new ByteReader(bytes);
    this.dialect = dialect;
    this.#callBudget = LEAST_CALL_BUDGET + COST_OF_ELEMENT * bytes.length;
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

  pushClass(module: string, className: string): void {
    const name = `${PYTHON_2_MODULES.get(module) ?? module}.${className}`;
    if (HOSTILE.test(name)) throw refused(`names ${name}, which would run code in Python; no code is run here`);
    this.push(this.dialect.classes.get(name) ?? new PickleClass(name));
  }

  /** Limits what calls can copy: a value that is stored once can be an argument of any number of calls. */
  charge(args: readonly PickleValue[]): void {
    for (const value of [args, ...args]) {
      if (typeof value === "string" || value instanceof Uint8Array) this.#callBudget -= value.length;
      else if (value instanceof Map) this.#callBudget -= COST_OF_ELEMENT * value.size;
      else if (Array.isArray(value)) this.#callBudget -= COST_OF_ELEMENT * value.length;
    }
    if (this.#callBudget < 0) throw refused("uses the same large values as arguments too often");
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
  [0x8c, (machine) => machine.push(text(machine.input.bytes(machine.input.uint8())))], // SHORT_BINUNICODE
  [0x58, (machine) => machine.push(text(machine.input.bytes(machine.input.uint32())))], // BINUNICODE
  [0x8d, (machine) => machine.push(text(machine.input.bytes(machine.input.uint64())))], // BINUNICODE8
  [0x55, (machine) => machine.push(python2String(machine.input.bytes(machine.input.uint8())))], // SHORT_BINSTRING
  [0x54, (machine) => machine.push(python2String(machine.input.bytes(machine.input.uint32())))], // BINSTRING
  [0x43, (machine) => machine.push(new Uint8Array(machine.input.bytes(machine.input.uint8())))], // SHORT_BINBYTES
  [0x42, (machine) => machine.push(new Uint8Array(machine.input.bytes(machine.input.uint32())))], // BINBYTES
  [0x8e, (machine) => machine.push(new Uint8Array(machine.input.bytes(machine.input.uint64())))], // BINBYTES8
  [0x96, (machine) => machine.push(new Uint8Array(machine.input.bytes(machine.input.uint64())))], // BYTEARRAY8
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
  [0x92, callClassWithKeywords], // NEWOBJ_EX
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
  if (length === 0) return 0;
  const hex = Buffer.from(input.bytes(length)).reverse().toString("hex");
  const value = BigInt.asIntN(8 * length, BigInt(`0x${hex}`));
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

/**
 * UTF-8, in which Python also writes unpaired surrogates (for file names that are not UTF-8). These become U+FFFD,
 * which has as many bytes.
 */
function text(bytes: Uint8Array): string {
  try {
    return decodeUtf8(bytes);
  } catch {
    const replaced = Buffer.from(bytes);
    for (let at = replaced.indexOf(0xed); at >= 0; at = replaced.indexOf(0xed, at + 1)) {
      if ((replaced[at + 1] ?? 0) >= 0xa0) replaced.set([0xef, 0xbf, 0xbd].slice(0, replaced.length - at), at);
    }
    try {
      return decodeUtf8(replaced);
    } catch {
      throw refused("contains a string that is not UTF-8");
    }
  }
}

/** A `str` of Python 2: text or arbitrary bytes. */
function python2String(bytes: Uint8Array): string | Uint8Array {
  try {
    return decodeUtf8(bytes);
  } catch {
    return new Uint8Array(bytes);
  }
}

function decodeUtf8(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
}

function append(machine: PickleMachine, values: readonly PickleValue[]): void {
  const target = machine.top();
  const list = target instanceof PickleObject ? target.elements : target;
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
function setItems(dict: Map<PickleValue, PickleValue>, items: readonly PickleValue[]): PickleValue {
  if (items.length % 2 !== 0) throw refused("has a dict key without a value");
  for (let index = 0; index < items.length; index += 2) {
    dict.set(items[index] ?? null, items[index + 1] ?? null);
  }
  return dict;
}

function pushGlobal(machine: PickleMachine): void {
  const module = machine.input.line(MAX_NAME_BYTES);
  machine.pushClass(module, machine.input.line(MAX_NAME_BYTES));
}

function pushStackGlobal(machine: PickleMachine): void {
  const [module, name] = machine.popMany(2);
  if (typeof module !== "string" || typeof name !== "string")
    throw refused("names a class by a value that is not a string");
  machine.pushClass(module, name);
}

function callClass(machine: PickleMachine): void {
  const [callee = null, args = null] = machine.popMany(2);
  machine.push(called(machine, callee, args));
}

function callClassWithKeywords(machine: PickleMachine): void {
  const [callee = null, args = null, keywords = null] = machine.popMany(3);
  if (!(keywords instanceof Map)) throw refused("calls a class with keywords that are not a dict");
  machine.charge([keywords]);
  const object = called(machine, callee, args);
  if (object instanceof PickleObject) for (const [key, value] of keywords) object.set(key, value);
  machine.push(object);
}

function called(machine: PickleMachine, callee: PickleValue, args: PickleValue): PickleValue {
  if (!Array.isArray(args)) throw refused(`calls a class without arguments at byte ${machine.input.position}`);
  if (callee instanceof PickleObject) return new PickleObject(callee.className, args);
  if (!(callee instanceof PickleClass)) {
    throw refused(`calls a value that is not a class at byte ${machine.input.position}`);
  }
  if (machine.dialect.classes.has(callee.name)) machine.charge(args);
  return callee.call(args);
}

/**
 * Keeps the attributes of placeholders. Those of other objects are not needed: the `_metadata` of a state dict, and the
 * attributes of tensors.
 */
function setState(machine: PickleMachine): void {
  const state = machine.pop();
  const target = machine.top();
  if (typeof target !== "object" || target === null) {
    throw refused(`sets attributes of a value that cannot have any at byte ${machine.input.position}`);
  }
  if (!(target instanceof PickleObject)) return;
  // Objects with `__slots__` have a pair of dicts, the first of which may be None.
  const isPair =
    Array.isArray(state) && state.length === 2 && state.every((part) => part === null || part instanceof Map);
  const parts = isPair ? state : [state];
  machine.charge(parts);
  for (const part of parts) {
    if (part instanceof Map) for (const [key, value] of part) target.set(key, value);
    else if (part !== null) target.state = part;
  }
}
