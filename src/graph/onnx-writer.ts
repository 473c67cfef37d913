import { createHash, type Hash } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { EpalmError } from "../core/errors.js";
import { writeAtomically } from "../core/files/atomic-write.js";
import { bytesOf, elementCount, elementSize, type TensorSource } from "../tensor/tensor.js";
import type { Attribute, Dim, Graph, Value } from "./ir.js";
import {
  type AttributeMessage,
  attributeTypes,
  decodeModel,
  EXTERNAL,
  encodeModel,
  type ModelMessage,
  type TensorMessage,
  type ValueInfoMessage,
} from "./onnx-schema.js";
import { onnxTypes } from "./operators.js";

/** The newest versions that all current runtimes read: ONNX 1.16 of 2024. onnxruntime-node 1.30 reads newer ones. */
const IR_VERSION = 10;
const OPSET = 21;

/** Smaller tensors are stored in the graph file. Shape inference requires this for shapes and single numbers. */
const INLINE_BYTES = 1024;

/** Weights begin at page boundaries, so that a runtime can map them from the file. */
const ALIGNMENT = 4096;

/** Below the 2 GB limit of some file systems and tools. */
const DEFAULT_SHARD_BYTES = 1 << 30;

export interface WriteOptions {
  /** Maximum size of a data file in bytes; a larger tensor is written to a file of its own. Default: 1 GiB. */
  readonly shardBytes?: number;
  /**
   * Whether ONNX Runtime may copy tables of which nodes gather rows, such as token embeddings that are also the output
   * head, into a faster layout for each product with them. Otherwise, these products take a few percent longer, and the
   * table is in memory only once. Default: true.
   */
  readonly packTables?: boolean;
}

export interface WrittenFile {
  /** File name; the file is in the folder of the graph. */
  readonly name: string;
  readonly bytes: number;
  /** SHA-256 in hexadecimal. */
  readonly sha256: string;
}

/**
 * Writes `graph` to `path` (`….onnx`) and its weights to files beside it (`….data`, `….data.1`, …). Only one weight
 * is in memory at a time, and files get their final names when they are complete.
 */
export function writeOnnx(graph: Graph, path: string, options: WriteOptions = {}): WrittenFile[] {
  mkdirSync(dirname(path), { recursive: true });
  const stem = basename(path).replace(/\.onnx$/, "");
  const shards = new ShardWriter(dirname(path), `${stem}.data`, options.shardBytes ?? DEFAULT_SHARD_BYTES);
  try {
    const initializers = Array.from(graph.initializers, ([name, source]) =>
      isInline(source) ? inlineTensor(name, source) : shards.append(name, source),
    );
    const files = shards.finish();
    const bytes = encodeModel(modelMessage(options.packTables === false ? withOpenTables(graph) : graph, initializers));
    for (const file of files) renameSync(join(dirname(path), `${file.name}.part`), join(dirname(path), file.name));
    writeAtomically(path, bytes);
    return [{ name: basename(path), bytes: bytes.length, sha256: sha256(bytes) }, ...files];
  } catch (error) {
    shards.discard();
    throw error;
  }
}

/**
 * Lists the large tables of which nodes gather rows as inputs with a default. ONNX Runtime keeps such weights as they
 * are, because a caller could replace them.
 */
function withOpenTables(graph: Graph): Graph {
  const gathered = graph.nodes.flatMap(({ op, inputs }) => (op === "Gather" ? (inputs[0] ?? []) : []));
  const tables = Array.from(new Set(gathered)).flatMap((name) => {
    const source = graph.initializers.get(name);
    const isTable = source?.shape.length === 2 && !isInline(source);
    return isTable ? [{ name, type: source.type, shape: source.shape }] : [];
  });
  return { ...graph, inputs: [...graph.inputs, ...tables] };
}

/**
 * Writes a graph that extends the one in `original`, to a file in the same folder. It shares the weights in the data
 * files of the original.
 */
export function writeExtension(graph: Graph, original: string, path: string): WrittenFile {
  const known = new Map(
    (decodeModel(readFileSync(original)).graph?.initializer ?? []).map((tensor) => [tensor.name, tensor]),
  );
  const initializers = Array.from(
    graph.initializers,
    ([name, source]) => known.get(name) ?? inlineTensor(name, source),
  );
  const bytes = encodeModel(modelMessage(graph, initializers));
  writeAtomically(path, bytes);
  return { name: basename(path), bytes: bytes.length, sha256: sha256(bytes) };
}

/** The whole graph, including its weights, as the bytes of one file; for small graphs that exist only in memory. */
export function encodeOnnx(graph: Graph): Uint8Array {
  return encodeModel(
    modelMessage(
      graph,
      Array.from(graph.initializers, ([name, source]) => inlineTensor(name, source)),
    ),
  );
}

/** Appends tensors to data files and records their positions. */
class ShardWriter {
  readonly #files: { name: string; descriptor: number; bytes: number; hash: Hash }[] = [];

  constructor(
    readonly folder: string,
    readonly name: string,
    readonly limit: number,
  ) {}

  append(name: string, source: TensorSource): TensorMessage {
    const length = byteLength(source);
    const file = this.#fileFor(length);
    this.#write(file, new Uint8Array((ALIGNMENT - (file.bytes % ALIGNMENT)) % ALIGNMENT));
    const offset = file.bytes;
    this.#write(file, bytesOfSource(name, source));
    const entries = { location: file.name, offset: String(offset), length: String(length) };
    return {
      ...tensorHeader(name, source),
      dataLocation: EXTERNAL,
      externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
    };
  }

  finish(): WrittenFile[] {
    return this.#files.map(({ name, descriptor, bytes, hash }) => {
      fsyncSync(descriptor);
      closeSync(descriptor);
      return { name, bytes, sha256: hash.digest("hex") };
    });
  }

  discard(): void {
    for (const { name, descriptor } of this.#files) {
      try {
        closeSync(descriptor);
      } catch {
        // The file was closed before; it only has to be removed.
      }
      rmSync(join(this.folder, `${name}.part`), { force: true });
    }
  }

  #fileFor(length: number) {
    const last = this.#files.at(-1);
    if (last && (last.bytes === 0 || last.bytes + ALIGNMENT + length <= this.limit)) return last;
    const name = last ? `${this.name}.${this.#files.length}` : this.name;
    const file = {
      name,
      descriptor: openSync(join(this.folder, `${name}.part`), "w"),
      bytes: 0,
      hash: createHash("sha256"),
    };
    this.#files.push(file);
    return file;
  }

  #write(file: { descriptor: number; bytes: number; hash: Hash }, bytes: Uint8Array): void {
    file.hash.update(bytes);
    for (let done = 0; done < bytes.length; ) done += writeSync(file.descriptor, bytes, done);
    file.bytes += bytes.length;
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function byteLength(source: TensorSource): number {
  return elementCount(source.shape) * elementSize[source.type];
}

/**
 * Rejects a source that returns more or fewer bytes than its shape requires, which would shift the tensors after it.
 */
function bytesOfSource(name: string, source: TensorSource): Uint8Array {
  const bytes = bytesOf(source.read());
  if (bytes.length === byteLength(source)) return bytes;
  throw new EpalmError(
    "internal",
    `weight '${name}': expected ${byteLength(source)} bytes, its source returned ${bytes.length}`,
  );
}

function isInline(source: TensorSource): boolean {
  return byteLength(source) <= INLINE_BYTES;
}

function tensorHeader(name: string, source: TensorSource): TensorMessage {
  return { name, dims: source.shape, dataType: onnxTypes[source.type] };
}

function inlineTensor(name: string, source: TensorSource): TensorMessage {
  return { ...tensorHeader(name, source), rawData: bytesOfSource(name, source) };
}

function modelMessage(graph: Graph, initializer: readonly TensorMessage[]): ModelMessage {
  const outside = new Set([...graph.inputs, ...graph.outputs].map((value) => value.name));
  const inside = graph.nodes.flatMap((node) => node.outputs).filter((name) => !outside.has(name));
  return {
    irVersion: IR_VERSION,
    producerName: "epalm",
    opsetImport: [
      { domain: "", version: OPSET },
      { domain: "com.microsoft", version: 1 },
    ],
    graph: {
      name: graph.name,
      input: graph.inputs.map(valueInfo),
      output: graph.outputs.map(valueInfo),
      valueInfo: inside.map((name) => valueInfo(graph.values.get(name) as Value)),
      initializer,
      node: graph.nodes.map((node) => ({
        name: node.name,
        opType: node.op,
        domain: node.domain,
        input: node.inputs,
        output: node.outputs,
        attribute: Object.entries(node.attributes).map(([name, value]) => attributeMessage(name, value)),
      })),
    },
  };
}

function valueInfo({ name, type, shape }: Value): ValueInfoMessage {
  const dim = shape.map((size: Dim) => (typeof size === "number" ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: onnxTypes[type], shape: { dim } } } };
}

function attributeMessage(name: string, attribute: Attribute): AttributeMessage {
  const type = attributeTypes[attribute.kind];
  switch (attribute.kind) {
    case "int":
      return { name, type, i: attribute.value };
    case "ints":
      return { name, type, ints: attribute.value };
    case "float":
      return { name, type, f: attribute.value };
    case "string":
      return { name, type, s: new TextEncoder().encode(attribute.value) };
    default:
      return attribute satisfies never;
  }
}
