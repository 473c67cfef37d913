import protobuf from "protobufjs";

/**
 * The part of ONNX's file format that epalm writes and reads, with the field numbers of the published schema
 * (onnx/onnx.proto, IR version 10). protobuf skips unknown fields of other writers.
 */

const field = (type: string, id: number) => ({ type, id });
const list = (type: string, id: number) => ({ type, id, rule: "repeated", options: { packed: false } });

const root = protobuf.Root.fromJSON({
  nested: {
    onnx: {
      nested: {
        Model: {
          fields: {
            irVersion: field("int64", 1),
            producerName: field("string", 2),
            producerVersion: field("string", 3),
            graph: field("GraphDefinition", 7),
            opsetImport: list("OperatorSet", 8),
          },
        },
        OperatorSet: { fields: { domain: field("string", 1), version: field("int64", 2) } },
        GraphDefinition: {
          fields: {
            node: list("NodeDefinition", 1),
            name: field("string", 2),
            initializer: list("TensorDefinition", 5),
            input: list("ValueInfo", 11),
            output: list("ValueInfo", 12),
            valueInfo: list("ValueInfo", 13),
          },
        },
        NodeDefinition: {
          fields: {
            input: list("string", 1),
            output: list("string", 2),
            name: field("string", 3),
            opType: field("string", 4),
            attribute: list("AttributeDefinition", 5),
            domain: field("string", 7),
          },
        },
        AttributeDefinition: {
          fields: {
            name: field("string", 1),
            f: field("float", 2),
            i: field("int64", 3),
            s: field("bytes", 4),
            ints: list("int64", 8),
            type: field("int32", 20),
          },
        },
        TensorDefinition: {
          fields: {
            dims: list("int64", 1),
            dataType: field("int32", 2),
            name: field("string", 8),
            rawData: field("bytes", 9),
            externalData: list("Entry", 13),
            dataLocation: field("int32", 14),
          },
        },
        Entry: { fields: { key: field("string", 1), value: field("string", 2) } },
        ValueInfo: { fields: { name: field("string", 1), type: field("TypeDefinition", 2) } },
        TypeDefinition: { fields: { tensorType: field("TensorTypeDefinition", 1) } },
        TensorTypeDefinition: {
          fields: { elemType: field("int32", 1), shape: field("ShapeDefinition", 2) },
        },
        ShapeDefinition: { fields: { dim: list("Dimension", 1) } },
        Dimension: {
          fields: { dimValue: field("int64", 1), dimParam: field("string", 2) },
          oneofs: { value: { oneof: ["dimValue", "dimParam"] } },
        },
      },
    },
  },
});

const modelType = root.lookupType("onnx.Model");

/** ONNX's numbers of the attribute types (onnx.proto, AttributeProto.AttributeType). */
export const attributeTypes = { float: 1, int: 2, string: 3, ints: 7 } as const;

/** onnx.proto, TensorProto.DataLocation: the tensor's bytes are in another file. */
export const EXTERNAL = 1;

export interface TensorMessage {
  dims?: readonly number[];
  dataType: number;
  name: string;
  rawData?: Uint8Array;
  externalData?: readonly { key: string; value: string }[];
  dataLocation?: number;
}

export interface ValueInfoMessage {
  name: string;
  type?: { tensorType?: { elemType: number; shape?: { dim?: readonly DimensionMessage[] } } };
}

export interface DimensionMessage {
  dimValue?: number;
  dimParam?: string;
}

export interface AttributeMessage {
  name: string;
  type: number;
  f?: number;
  i?: number;
  s?: Uint8Array;
  ints?: readonly number[];
}

export interface NodeMessage {
  input?: readonly string[];
  output?: readonly string[];
  name?: string;
  opType: string;
  domain?: string;
  attribute?: readonly AttributeMessage[];
}

export interface ModelMessage {
  irVersion: number;
  producerName?: string;
  producerVersion?: string;
  opsetImport: readonly { domain?: string; version: number }[];
  graph: {
    name?: string;
    node?: readonly NodeMessage[];
    initializer?: readonly TensorMessage[];
    input?: readonly ValueInfoMessage[];
    output?: readonly ValueInfoMessage[];
    valueInfo?: readonly ValueInfoMessage[];
  };
}

export function encodeModel(model: ModelMessage): Uint8Array {
  return modelType.encode(model).finish();
}

/** Throws protobuf's own error if the bytes are not a message. Repeated fields that are empty are undefined. */
export function decodeModel(bytes: Uint8Array): ModelMessage {
  return modelType.toObject(modelType.decode(bytes), { longs: Number }) as ModelMessage;
}
