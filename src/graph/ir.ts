import type { ElementType, TensorSource } from "../tensor/tensor.js";

/**
 * The graph representation: plain readonly data. Building, checking, differentiating, quantizing and serialising are
 * separate functions that return a new graph or bytes.
 */

/** A known size, or the name of one that is known only at run time, such as `batch` or `past+step`. */
export type Dim = number | string;

/** Type and shape of a tensor that has not been computed yet. */
export interface TensorType {
  readonly type: ElementType;
  readonly shape: readonly Dim[];
}

/** A named tensor of a graph: an input, a weight, or the output of a node. */
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
  /** `""` is the standard ONNX set, `com.microsoft` that of ONNX Runtime. */
  readonly domain: OperatorDomain;
  /** Names of values; `""` if an optional input is omitted. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Attributes;
}

export type OperatorDomain = "" | "com.microsoft";

export interface Graph {
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** In topological order: each node's inputs precede it. */
  readonly nodes: readonly Node[];
  /** Weights and constants by name. Their data stays in files until it is read. */
  readonly initializers: ReadonlyMap<string, TensorSource>;
  /** All values by name: inputs, initializers and node outputs. */
  readonly values: ReadonlyMap<string, Value>;
}

export const int = (value: number): Attribute => ({ kind: "int", value });
export const ints = (value: readonly number[]): Attribute => ({ kind: "ints", value });
export const float = (value: number): Attribute => ({ kind: "float", value });
export const string = (value: string): Attribute => ({ kind: "string", value });
