/**
 * Relative tolerances of gradients and training steps: the largest difference divided by the largest expected
 * magnitude. All tolerances of these tests are in this table.
 */
export const tolerances = {
  /** A rule against central differences, whose own error in float32 is a few 1e-6 of the largest output. */
  rule: 1e-4,
  /** The same gradient computed alone, where other nodes may be fused. */
  alone: 1e-6,
  /** Gradient, loss or weights after three steps of a whole model against torch in float32. */
  golden: 1e-4,
  /** Two graphs of the same model, with and without padding, cache or slot. */
  sameModel: 1e-5,
  /** A whole model's slope along its gradient; the loss has 7 digits, and 4 of them cancel over a short distance. */
  modelSlope: 3e-3,
  /** One optimizer step against torch, which rounds moments and products at different points. */
  optimizer: 1e-6,
} as const;
