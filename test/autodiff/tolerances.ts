/**
 * How far numbers of a gradient or of a training step may lie from what is expected: the largest difference over the
 * largest expected number. All tolerances of these tests stand here.
 */
export const tolerances = {
  /** Of a rule against central differences; their own error in float32 is a few 1e-6 of the largest output. */
  rule: 1e-4,
  /** Of the same gradient taken alone, where other nodes may be fused. */
  alone: 1e-6,
  /** Of a whole model's gradient, loss or weights after three steps against torch in float32. */
  golden: 1e-4,
  /** Of two graphs of the same model, with and without padding, cache or slot. */
  sameModel: 1e-5,
  /** Of a whole model's slope along its gradient; its loss has 7 digits, and 4 of them cancel over a short way. */
  modelSlope: 3e-3,
  /** Of one optimizer step against torch, which rounds moments and products at other places. */
  optimizer: 1e-6,
} as const;
