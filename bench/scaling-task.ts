/** What one process of `npm run bench -- scaling` measures in a model folder. */
export type ScalingTask = { readonly path: string; readonly rounds: number } & (
  | { readonly kind: "prefill"; readonly promptTokens: number }
  | { readonly kind: "step"; readonly batch: number }
  /** `requests` captions at the same time, with as many different adapters in turn. */
  | { readonly kind: "adapters"; readonly adapters: number; readonly requests: number }
  /** New images at the same time. */
  | { readonly kind: "images"; readonly images: number }
);

export interface ScalingCost {
  /** Median duration of the work. */
  readonly milliseconds: number;
  /** Resident memory when the model is open, and the most after that. */
  readonly openBytes: number;
  readonly peakBytes: number;
}
