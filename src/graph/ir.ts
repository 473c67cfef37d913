import type { ElementType, TensorSource } from "../tensor/tensor.js";

/**
 * The graph representation: plain readonly data. Building, checking, differentiating, quantizing and
 * serialising are separate functions from this to this, or to bytes.
 */

/** A size that is known, or the name of one that each run decides, such as `batch` or `past+step`. */
export type Dim = number | string;

/** What is known of a tensor before it is computed. */
export interface TensorType {
  readonly type: ElementType;
  readonly shape: readonly Dim[];
}

/** A named tensor of a graph: an input, a weight, or what a node puts out. */
export interface Value extends TensorType {
  readonly name: string;
}

export type Attribute =
  | { readonly kind: "int"; readonly value: number }
  | { readonly kind: "ints"; readonly value: readonly number[] }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "string"; readonly value: string };

export type Attributes = Readonly<Record<string, Attribute>>;

/** One operator of ONNX, or of ONNX Runtime's own set. */
export interface Node {
  readonly name: string;
  readonly op: string;
  /** `""` is ONNX itself, `com.microsoft` is ONNX Runtime's set. */
  readonly domain: OperatorDomain;
  /** Names of values; `""` where an optional input is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Attributes;
}

export type OperatorDomain = "" | "com.microsoft";

export interface Graph {
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** In an order in which each node's inputs come before it. */
  readonly nodes: readonly Node[];
  /** Weights and constants, by name; they stay in their files until they are read. */
  readonly initializers: ReadonlyMap<string, TensorSource>;
  /** Every value by name: inputs, initializers, node outputs. */
  readonly values: ReadonlyMap<string, Value>;
}

export const int = (value: number): Attribute => ({ kind: "int", value });
export const ints = (value: readonly number[]): Attribute => ({ kind: "ints", value });
export const float = (value: number): Attribute => ({ kind: "float", value });
export const string = (value: string): Attribute => ({ kind: "string", value });
