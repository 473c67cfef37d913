import { EpalmError } from "../core/errors.js";

/** What the perceptual token attends to: all tokens, as in the published code, or only itself. */
export type PerceptionSees = "everything" | "itself";

/** Where perception enters a decoder (eP-ALM, section 3). */
export interface InjectionSettings {
  /** K: number of the encoder's last [CLS] states that are injected. */
  readonly injectedStates: number;
  /** The first decoder layer that has the perceptual token. */
  readonly startLayer: number;
  /** The layer after the last one whose perceptual token is overwritten. */
  readonly endLayer: number;
  readonly perceptionSees: PerceptionSees;
}

/** Where visual tokens enter a decoder and where they leave it again. */
export interface LayerRange {
  /** The layer that visual tokens enter. At layer 0, they enter like the embeddings of text. */
  readonly startLayer: number;
  /** The layer after the last one at which they exist. */
  readonly endLayer: number;
}

/** What happens to visual tokens at each layer of one decoder. */
export interface VisualTokenPlan {
  /** For each layer, whether the tokens exist there; at the others, no token attends to them. */
  readonly visible: readonly boolean[];
  /** The layer that they enter. */
  readonly startLayer: number;
}

/** What happens to the perceptual token at each layer of one decoder. */
export interface InjectionPlan {
  /** For each layer, whether the token exists there. */
  readonly visible: readonly boolean[];
  /** For each layer, the index of the state that overwrites the token on entry; undefined if the token is unchanged. */
  readonly stateAt: readonly (number | undefined)[];
  readonly perceptionSees: PerceptionSees;
  /**
   * Whether cached tokens remain valid when more tokens follow. A token that attends to everything changes with every
   * new token. As long as it is overwritten up to the last layer, no cached value depends on this change. Otherwise
   * the later layers of every token change too, and all tokens must be computed again.
   */
  readonly cacheable: boolean;
}

/**
 * At each layer of [start, end), state min((layer - start) / step, K - 1), with step = max(1, (end - start) / K),
 * both divisions rounded down.
 *
 * @throws `invalid_adapter` if the settings do not fit a decoder of `layers` layers
 *
 * @example
 * ```ts
 * import { injectionPlan } from "epalm";
 * const settings = { injectedStates: 6, startLayer: 19, endLayer: 31, perceptionSees: "everything" } as const;
 * const plan = injectionPlan(settings, 32);
 * console.log(plan.stateAt[19]); // 0: the first of the six states
 * ```
 */
export function injectionPlan(settings: InjectionSettings, layers: number): InjectionPlan {
  const { injectedStates, startLayer, endLayer, perceptionSees } = settings;
  expectRange(settings, layers);
  const step = Math.max(1, Math.floor((endLayer - startLayer) / injectedStates));
  const all = Array.from({ length: layers }, (_, layer) => layer);
  return {
    visible: all.map((layer) => layer >= startLayer),
    stateAt: all.map((layer) =>
      layer >= startLayer && layer < endLayer
        ? Math.min(Math.floor((layer - startLayer) / step), injectedStates - 1)
        : undefined,
    ),
    perceptionSees,
    cacheable: perceptionSees === "itself" || endLayer >= layers - 1,
  };
}

/**
 * Visual tokens exist from `startLayer` up to and excluding `endLayer`.
 *
 * @throws `invalid_adapter` if the settings do not fit a decoder of `layers` layers
 */
export function visualTokenPlan(range: LayerRange, layers: number): VisualTokenPlan {
  expectRange(range, layers);
  const { startLayer, endLayer } = range;
  return { startLayer, visible: Array.from({ length: layers }, (_, layer) => layer >= startLayer && layer < endLayer) };
}

function expectRange({ startLayer, endLayer }: LayerRange, layers: number): void {
  if (startLayer >= 0 && startLayer < endLayer && endLayer <= layers) return;
  throw new EpalmError(
    "invalid_adapter",
    `layers ${startLayer} to ${endLayer}: expected 0 <= start < end <= ${layers}, the decoder's layers`,
  );
}
