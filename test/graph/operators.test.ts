import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GraphBuilder } from "../../src/graph/builder.js";
import { type Attributes, type Dim, float, int, ints, type Value } from "../../src/graph/ir.js";
import { onnxTypes } from "../../src/graph/operators.js";
import type { ElementType } from "../../src/tensor/tensor.js";
import { anyInput } from "../support/small-graphs.js";

type Build = (g: GraphBuilder) => Value | undefined;

/** Applies an operator to inputs of the given shapes. */
const on =
  (
    op: string,
    inputs: readonly (readonly Dim[] | Input | Constant)[],
    attributes: Attributes = {},
    domain: "" | "com.microsoft" = "",
  ): Build =>
  (g) => {
    const values = inputs.map((input) => {
      if ("constant" in input) return g.integers(input.constant);
      return "type" in input ? anyInput(g, input.shape, input.type) : anyInput(g, input);
    });
    return g.operator(op, values, attributes, 1, domain)[0];
  };

interface Input {
  readonly type: ElementType;
  readonly shape: readonly Dim[];
}
interface Constant {
  readonly constant: readonly number[];
}

const constant = (...numbers: number[]): Constant => ({ constant: numbers });
const ids = (...shape: Dim[]): Input => ({ type: "int64", shape });
const choice = (...shape: Dim[]): Input => ({ type: "bool", shape });
const byte = (...shape: Dim[]): Input => ({ type: "uint8", shape });

const nbits = { K: int(100), N: int(3), bits: int(4), block_size: int(64) };

const wrong: readonly (readonly [string, Build, RegExp])[] = [
  ["Add", on("Add", [[2, 3], [4]]), /Add 'Add': shapes \[2, 3\] and \[4\] do not broadcast/],
  ["Add", on("Add", [["batch"], ["step"]]), /\[batch\] and \[step\] do not broadcast/],
  ["Add", on("Add", [[2], ids(2)]), /inputs differ in type: float32 and int64/],
  ["Add", on("Add", [[2]]), /Add 'Add': input 1 is missing/],
  ["And", on("And", [choice(2), [2]]), /input 1: expected bool, got float32/],
  ["Not", on("Not", [[2]]), /input 0: expected bool, got float32/],
  ["Less", on("Less", [[2], [3]]), /do not broadcast/],
  ["Where", on("Where", [[2], [2], [2]]), /input 0: expected bool, got float32/],
  ["Where", on("Where", [choice(2), [2], ids(2)]), /inputs differ in type: float32 and int64/],
  ["Where", on("Where", [choice(5), [2, 3], [3]]), /do not broadcast/],
  ["Cast", on("Cast", [[2]], { to: int(99) }), /attribute to: unknown element type/],
  ["Cast", on("Cast", [[2]], { to: float(1) }), /attribute to: expected int, got float/],
  ["Relu", on("Relu", [ids(2)]), /input 0: expected float32 or float16, got int64/],
  [
    "MatMul",
    on("MatMul", [
      [2, 3],
      [4, 5],
    ]),
    /\[2, 3\] x \[4, 5\]: inner sizes 3 and 4 differ/,
  ],
  ["MatMul", on("MatMul", [[3], [3, 5]]), /expected matrices, got \[3\] and \[3, 5\]/],
  [
    "MatMul",
    on("MatMul", [
      [2, 2, 3],
      [5, 3, 2],
    ]),
    /\[2\] and \[5\] do not broadcast/,
  ],
  ["MatMul", on("MatMul", [ids(2, 3), [3, 2]]), /input 0: expected float32 or float16, got int64/],
  ["MatMulInteger", on("MatMulInteger", [[2, 3], byte(3, 2)]), /expected uint8 or int8, got float32/],
  [
    "Gemm",
    on(
      "Gemm",
      [
        [2, 3],
        [5, 4],
      ],
      { transB: int(1) },
    ),
    /inner sizes 3 and 4 differ/,
  ],
  [
    "Gemm",
    on("Gemm", [
      [1, 2, 3],
      [3, 4],
    ]),
    /expected two matrices, got \[1, 2, 3\] and \[3, 4\]/,
  ],
  [
    "Gemm",
    on("Gemm", [
      [2, 3],
      [3, 4],
      [5, 2, 4],
    ]),
    /input 2: \[5, 2, 4\] cannot be broadcast to \[2, 4\]/,
  ],
  [
    "FusedMatMul",
    on(
      "FusedMatMul",
      [
        [2, 3],
        [3, 4],
      ],
      { transA: int(1) },
      "com.microsoft",
    ),
    /inner sizes 2 and 3 differ/,
  ],
  [
    "RotaryEmbedding",
    on("RotaryEmbedding", [[2, 3, 5, 8], { type: "int64", shape: [2, 4] }, [9, 4], [9, 4]], {}, "com.microsoft"),
    /expected \[B, heads, T, n\], \[B, T\] and twice \[N, n \/ 2\], got \[2, 3, 5, 8\], \[2, 4\], \[9, 4\], \[9, 4\]/,
  ],
  [
    "RotaryEmbedding",
    on(
      "RotaryEmbedding",
      [[2, 3, 5, 8], { type: "int64", shape: [2, 5] }, [9, 5], [9, 5]],
      { rotary_embedding_dim: int(10), num_heads: int(3) },
      "com.microsoft",
    ),
    /expected \[B, heads, T, n\], .*got \[2, 3, 5, 8\], \[2, 5\], \[9, 5\], \[9, 5\]/,
  ],
  [
    "MatMulNBits",
    on("MatMulNBits", [[1, 99], byte(3, 2, 32), [6]], nbits, "com.microsoft"),
    /expected rows of 100, got \[1, 99\]/,
  ],
  [
    "MatMulNBits",
    on("MatMulNBits", [[1, 100], byte(3, 1, 32), [6]], nbits, "com.microsoft"),
    /input 1: expected \[3, 2, 32\], got \[3, 1, 32\]/,
  ],
  [
    "MatMulNBits",
    on("MatMulNBits", [[1, 100], byte(3, 2, 32), [3]], nbits, "com.microsoft"),
    /input 2: expected \[6\], got \[3\]/,
  ],
  ["LayerNormalization", on("LayerNormalization", [[2, 3], [2]]), /input 1: expected \[3\], got \[2\]/],
  [
    "LayerNormalization",
    on("LayerNormalization", [
      [2, 3],
      [3, 1],
    ]),
    /input 1: expected \[3\], got \[3, 1\]/,
  ],
  ["LayerNormalization", on("LayerNormalization", [[2, 3], [3], [1]]), /input 2: expected \[3\], got \[1\]/],
  ["LayerNormalization", on("LayerNormalization", [[2, 3]]), /input 1 is missing/],
  ["ReduceSum", on("ReduceSum", [[2, 3], constant(2)]), /axis 2 is outside rank 2/],
  ["ReduceMean", on("ReduceMean", [[2, 3], ids(1)]), /input 1 must be a constant/],
  [
    "SoftmaxCrossEntropyLoss",
    on("SoftmaxCrossEntropyLoss", [[2, 5], ids(3)]),
    /expected \[N, V\] and \[N\], got \[2, 5\] and \[3\]/,
  ],
  ["TopK", on("TopK", [[2, 3], constant(4)]), /cannot take the top 4 of 3/],
  ["TopK", on("TopK", [[2, 3], [1]]), /input 1: expected int64, got float32/],
  ["TopK", on("TopK", [[], constant(1)]), /expected an axis and a count \[1\], got \[\] and \[1\]/],
  ["Reshape", on("Reshape", [[2, 3], constant(4)]), /\[2, 3\] cannot be reshaped to hold \[4\]/],
  ["Reshape", on("Reshape", [[2, 3], constant(4, -1)]), /\[2, 3\] cannot be reshaped to hold \[4\]/],
  ["Reshape", on("Reshape", [["batch", 3], constant(2, 3)]), /\[batch, 3\] cannot be reshaped to hold \[2, 3\]/],
  ["Reshape", on("Reshape", [[4], constant(2)]), /\[4\] cannot be reshaped to \[2\]/],
  ["Reshape", on("Reshape", [[4], constant(-1, -1)]), /expected at most one size of -1/],
  ["Reshape", on("Reshape", [[6], constant(-2, -3)]), /\[-2, -3\] is not a valid shape for \[6\]/],
  ["Reshape", on("Reshape", [[6], constant(6, 0)]), /\[6, 0\] is not a valid shape for \[6\]/],
  ["Transpose", on("Transpose", [[2, 3]], { perm: ints([0, 0]) }), /perm \[0, 0\] is not a permutation of 2 axes/],
  ["Transpose", on("Transpose", [[2, 3]], { perm: ints([0]) }), /perm \[0\] is not a permutation of 2 axes/],
  ["Unsqueeze", on("Unsqueeze", [[2], constant(3)]), /axis 3 is outside rank 2/],
  ["Unsqueeze", on("Unsqueeze", [[2], constant(0, -3)]), /axes \[0, -3\] repeat/],
  ["Squeeze", on("Squeeze", [[2, 1], constant(0)]), /axis 0 has size 2/],
  [
    "Concat",
    on(
      "Concat",
      [
        [2, 3],
        [3, 3],
      ],
      { axis: int(1) },
    ),
    /input 1: \[3, 3\] cannot be concatenated with \[2, 3\]/,
  ],
  ["Concat", on("Concat", [[2], ids(2)]), /inputs differ in type/],
  ["Concat", on("Concat", [[2], [2]], { axis: int(1) }), /axis 1 is outside rank 1/],
  ["Split", on("Split", [[2, 5], constant(2, 2)], { axis: int(1) }), /parts \[2, 2\] do not add up to 5/],
  ["Split", on("Split", [["batch"], constant(1, 1)]), /parts \[1, 1\] do not add up to batch/],
  ["Split", on("Split", [["batch"], ids("parts")]), /the number of parts is unknown/],
  ["Split", on("Split", [[5]], { num_outputs: int(2) }), /5 cannot be split into 2 equal parts/],
  [
    "Slice",
    on("Slice", [["step"], constant(-2), constant(5), constant(0)]),
    /from -2 to 5 of an axis of unknown size step/,
  ],
  ["Slice", on("Slice", [[5], constant(0), constant(4), constant(0), constant(2)]), /steps other than 1/],
  ["Slice", on("Slice", [[5], ids(1), constant(4), constant(0)]), /input 1 must be a constant/],
  ["Gather", on("Gather", [[4, 3], [2]]), /input 1: expected int64 or int32, got float32/],
  ["Gather", on("Gather", [[4, 3], ids(2)], { axis: int(2) }), /axis 2 is outside rank 2/],
  ["GatherElements", on("GatherElements", [[4, 3], ids(4)]), /\[4, 3\] and indices \[4\] differ in rank/],
  ["ScatterElements", on("ScatterElements", [[4], ids(2), [3]]), /updates \[3\] and indices \[2\] differ in shape/],
  ["ScatterElements", on("ScatterElements", [[4], ids(2), ids(2)]), /inputs differ in type/],
  ["Pad", on("Pad", [[2, 3], constant(1, 1)]), /two non-negative numbers for each of 2 axes, got \[1, 1\]/],
  ["Pad", on("Pad", [[2], constant(0, -1)]), /two non-negative numbers for each of 1 axes, got \[0, -1\]/],
  ["Expand", on("Expand", [[2, 3], constant(4)]), /do not broadcast/],
  ["Expand", on("Expand", [[2, 3], ids(1)]), /expected at least 2 sizes, got 1/],
  ["Expand", on("Expand", [[2, 3], ids("rank")]), /the number of axes is unknown/],
  ["an unknown operator", on("Einsum", [[2]]), /Einsum 'Einsum': no rule for operator Einsum/],
  ["a property name of every object", on("toString", [[2]]), /no rule for operator toString/],
];

const right: readonly (readonly [string, Build, ElementType, readonly Dim[]])[] = [
  [
    "broadcast with a symbolic size",
    on("Add", [
      ["batch", 1, 3],
      ["step", 1],
    ]),
    "float32",
    ["batch", "step", 3],
  ],
  ["comparison", on("Less", [ids("batch", 2), ids()]), "bool", ["batch", 2]],
  ["choice", on("Where", [choice("batch", 1), [1, 4], []]), "float32", ["batch", 4]],
  ["cast", on("Cast", [["batch"]], { to: int(onnxTypes.int64) }), "int64", ["batch"]],
  [
    "batched product",
    on("MatMul", [
      ["batch", 4, "step", 8],
      [8, 2],
    ]),
    "float32",
    ["batch", 4, "step", 2],
  ],
  ["product in integers", on("MatMulInteger", [byte("batch", 8), byte(8, 2)]), "int32", ["batch", 2]],
  [
    "product with swapped axes",
    on(
      "FusedMatMul",
      [
        ["b", 8, "t"],
        ["b", 8, 2],
      ],
      { transA: int(1) },
      "com.microsoft",
    ),
    "float32",
    ["b", "t", 2],
  ],
  [
    "product with packed weights",
    on("MatMulNBits", [["b", "t", 100], byte(3, 2, 32), [6]], nbits, "com.microsoft"),
    "float32",
    ["b", "t", 3],
  ],
  ["sum of all axes", on("ReduceSum", [["batch", 3]]), "float32", [1, 1]],
  [
    "sum that drops an axis",
    on("ReduceSum", [["batch", 3, 5], constant(-2)], { keepdims: int(0) }),
    "float32",
    ["batch", 5],
  ],
  ["top-k with a count from an input", on("TopK", [["rows", 9], ids(1)]), "float32", ["rows", "?top"]],
  ["open size in a reshape", on("Reshape", [["b", "t", 6], constant(0, 0, 2, -1)]), "float32", ["b", "t", 2, 3]],
  ["joined sizes in a reshape", on("Reshape", [["b", "t", 6], constant(-1, 3)]), "float32", ["b*t*2", 3]],
  ["reversed axes", on("Transpose", [["b", 2, 3]]), "float32", [3, 2, "b"]],
  ["axes put in from both ends", on("Unsqueeze", [["b"], constant(0, -1)]), "float32", [1, "b", 1]],
  [
    "sum of sizes",
    on("Concat", [
      ["past", 2],
      ["step", 2],
    ]),
    "float32",
    ["past+step", 2],
  ],
  ["parts of one size", on("Split", [[6, 2]], { num_outputs: int(3) }), "float32", [2, 2]],
  [
    "rest of an axis of symbolic size",
    on("Slice", [["step"], constant(1), constant(2 ** 40), constant(0)]),
    "float32",
    ["step+-1"],
  ],
  [
    "all but the last element",
    on("Slice", [["step"], constant(0), constant(-1), constant(-1)]),
    "float32",
    ["step+-1"],
  ],
  ["a slice beyond the end", on("Slice", [[3], constant(1), constant(9), constant(0)]), "float32", [2]],
  ["entries by index", on("Gather", [[9, 4], ids("b", "t")]), "float32", ["b", "t", 4]],
  ["padding of an axis of symbolic size", on("Pad", [["t", 2], constant(1, 0, 2, 0)]), "float32", ["t+3", 2]],
  ["repetition to known sizes", on("Expand", [[1, 3], constant(2, 4, 1)]), "float32", [2, 4, 3]],
  ["sizes of some axes", on("Shape", [["b", 2, 3]], { start: int(1) }), "int64", [2]],
];

describe("shape rules", () => {
  for (const [what, build, message] of wrong) {
    it(`reject invalid inputs: ${what}, ${message.source}`, () => {
      assert.throws(() => build(new GraphBuilder("wrong")), { code: "invalid_graph", message });
    });
  }
  for (const [what, build, type, shape] of right) {
    it(`infer type and shape: ${what}`, () => {
      const value = build(new GraphBuilder("right"));
      assert.deepEqual({ type: value?.type, shape: value?.shape }, { type, shape });
    });
  }
});
