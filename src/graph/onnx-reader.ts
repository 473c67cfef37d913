import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { EpalmError, messageOf, unexpected } from "../core/errors.js";
import { elementCount, elementSize, type TensorSource, typedArray } from "../tensor/tensor.js";
import { checkGraph } from "./check-graph.js";
import type { Attribute, Dim, Graph, Node, OperatorDomain, Value } from "./ir.js";
import {
  type AttributeMessage,
  attributeTypes,
  decodeModel,
  EXTERNAL,
  type ModelMessage,
  type NodeMessage,
  type TensorMessage,
  type ValueInfoMessage,
} from "./onnx-schema.js";
import { elementTypeOf } from "./operators.js";

/** A graph file contains no large weights; the largest that epalm writes (hundreds of layers) is far smaller. */
const MAX_GRAPH_BYTES = 256 * 1024 * 1024;

/**
 * Reads a graph that epalm wrote, and checks it node by node. Weights stay in their files.
 *
 * @throws `invalid_model`, naming the file and the cause
 */
export function readOnnx(path: string): Graph {
  try {
    const { size } = statSync(path);
    if (size > MAX_GRAPH_BYTES)
      throw new EpalmError("invalid_model", `expected at most ${MAX_GRAPH_BYTES} bytes, got ${size}`);
    const graph = graphOf(decodeModel(readFileSync(path)), dirname(path));
    checkGraph(graph);
    return graph;
  } catch (error) {
    throw new EpalmError("invalid_model", `${path}: ${messageOf(error)}`, { cause: error });
  }
}

function graphOf(model: ModelMessage, folder: string): Graph {
  const { graph } = model;
  if (!graph) throw new EpalmError("invalid_model", "contains no graph");
  const inputs = (graph.input ?? []).map(readValue);
  const outputs = (graph.output ?? []).map(readValue);
  const initializers = new Map((graph.initializer ?? []).map((tensor) => [tensor.name, sourceOf(tensor, folder)]));
  const values = new Map<string, Value>();
  for (const value of [...inputs, ...outputs, ...(graph.valueInfo ?? []).map(readValue)]) values.set(value.name, value);
  for (const [name, { type, shape }] of initializers) values.set(name, { name, type, shape });
  return {
    name: graph.name ?? "",
    inputs,
    outputs,
    nodes: (graph.node ?? []).map(nodeOf),
    initializers,
    values,
  };
}

function readValue(info: ValueInfoMessage): Value {
  const tensor = info.type?.tensorType;
  const type = elementTypeOf(tensor?.elemType ?? 0);
  if (!type) throw new EpalmError("invalid_model", `value '${info.name}' has an unknown element type`);
  const shape = (tensor?.shape?.dim ?? []).map((dim): Dim => dim.dimParam ?? dim.dimValue ?? 0);
  return { name: info.name, type, shape };
}

function nodeOf(message: NodeMessage): Node {
  const domain = message.domain ?? "";
  if (domain !== "" && domain !== "com.microsoft") {
    throw new EpalmError("invalid_model", `node '${message.name}': unknown operator domain '${domain}'`);
  }
  return {
    name: message.name ?? "",
    op: message.opType,
    domain: domain satisfies OperatorDomain,
    inputs: message.input ?? [],
    outputs: message.output ?? [],
    attributes: Object.fromEntries((message.attribute ?? []).map((item) => [item.name, attributeOf(item)])),
  };
}

function attributeOf({ name, type, f, i, s, ints }: AttributeMessage): Attribute {
  switch (type) {
    case attributeTypes.float:
      return { kind: "float", value: f ?? 0 };
    case attributeTypes.int:
      return { kind: "int", value: i ?? 0 };
    case attributeTypes.string:
      return { kind: "string", value: new TextDecoder().decode(s) };
    case attributeTypes.ints:
      return { kind: "ints", value: ints ?? [] };
    default:
      throw new EpalmError("invalid_model", `attribute '${name}': unknown kind ${type}`);
  }
}

function sourceOf(tensor: TensorMessage, folder: string): TensorSource {
  const type = elementTypeOf(tensor.dataType);
  if (!type) throw new EpalmError("invalid_model", `weight '${tensor.name}': unknown element type ${tensor.dataType}`);
  const shape = tensor.dims ?? [];
  const length = elementCount(shape) * elementSize[type];
  if (tensor.dataLocation === EXTERNAL) return { type, shape, read: externalReader(tensor, folder, length, type) };
  const raw = tensor.rawData ?? new Uint8Array();
  if (raw.length !== length) {
    throw unexpected("invalid_model", `weight '${tensor.name}'`, `${length} bytes`, raw.length);
  }
  return { type, shape, read: () => typedArray(type, new Uint8Array(raw)) };
}

function externalReader(tensor: TensorMessage, folder: string, length: number, type: TensorSource["type"]) {
  const entries = new Map((tensor.externalData ?? []).map(({ key, value }) => [key, value]));
  const location = entries.get("location") ?? "";
  const offset = Number(entries.get("offset") ?? 0);
  const where = `weight '${tensor.name}'`;
  if (location === "" || basename(location) !== location) {
    throw new EpalmError("invalid_model", `${where}: data file '${location}' is not beside the graph`);
  }
  if (Number(entries.get("length") ?? length) !== length) {
    throw unexpected("invalid_model", where, `${length} bytes`, entries.get("length") ?? length);
  }
  const path = join(folder, location);
  const file = statSync(path);
  if (!file.isFile()) throw new EpalmError("invalid_model", `${where}: data file '${location}' is not a regular file`);
  const { size } = file;
  if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > size) {
    throw new EpalmError("invalid_model", `${where}: lies outside ${location}, which has ${size} bytes`);
  }
  return () => typedArray(type, readRange(path, offset, length));
}

function readRange(path: string, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const descriptor = openSync(path, "r");
  try {
    for (let done = 0; done < length; ) {
      const got = readSync(descriptor, bytes, done, length - done, offset + done);
      if (got === 0) throw new EpalmError("invalid_model", `${path}: ends before byte ${offset + length}`);
      done += got;
    }
    return bytes;
  } finally {
    closeSync(descriptor);
  }
}
