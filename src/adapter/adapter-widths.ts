import type { PatchLayout } from "../backbones/backbone.js";

/** Sizes of the encoder and the decoder that an adapter connects. */
export interface AdapterWidths {
  /** dv */
  readonly encoder: number;
  /** d */
  readonly decoder: number;
  /** E: width of the soft tokens and of the visual tokens. */
  readonly embedding: number;
  /** How the encoder's patch states are arranged; only if it returns any. */
  readonly patches?: PatchLayout | undefined;
}
