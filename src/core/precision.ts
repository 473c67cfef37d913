/**
 * The numeric formats of a graph. int8 and int4 multiply integers, which only the CPU computes. The others also run on
 * GPUs: `int4-fp32` and `int4-fp16` store weights in 4 bits and compute with activations of the type after the hyphen.
 */
export const precisions = ["fp32", "fp16", "int8", "int4", "int4-fp32", "int4-fp16"] as const;

/** The numeric format of a graph's weights and products. */
export type Precision = (typeof precisions)[number];

/** Whether products multiply integers, to which activations are rounded at run time. */
export function multipliesIntegers(precision: Precision): boolean {
  return precision === "int8" || precision === "int4";
}

/** Whether products are computed in 16 bits. */
export function computesInFp16(precision: Precision): boolean {
  return precision === "fp16" || precision === "int4-fp16";
}
