import { EpalmError } from "../core/errors.js";

/** Whether the perceptual token attends to all tokens, as published, or only to itself. */
export type PerceptionSees = "everything" | "itself";

/** Where perception enters a decoder (eP-ALM, section 3; DESIGN, section 2). */
export interface InjectionSettings {
  /** K: how many of the encoder's last [CLS] states are injected. */
  readonly injectedStates: number;
  /** The first decoder layer that has the perceptual token. */
  readonly startLayer: number;
  /** The layer behind the last one whose perceptual token is overwritten. */
  readonly endLayer: number;
  readonly perceptionSees: PerceptionSees;
}

/** What the perceptual token is at each layer of one decoder. */
export interface InjectionPlan {
  /** Per layer: whether the token exists there. */
  readonly visible: readonly boolean[];
  /** Per layer: which of the K states the token is overwritten with on entering; undefined: left alone. */
  readonly stateAt: readonly (number | undefined)[];
  readonly perceptionSees: PerceptionSees;
  /**
   * Whether tokens once computed stay right when more follow. A token that sees everything changes with
   * every new token; while it is overwritten up to the last layer, nothing that is cached depends on that.
   * If it is left alone earlier, later layers of every token change too, and all must be computed again.
   */
  readonly cacheable: boolean;
}

/**
 * State min((layer - start) / step, K - 1) at each layer of [start, end), step = max(1, (end - start) / K),
 * rounded down. Throws `invalid_adapter` where the settings do not fit a decoder of `layers` layers.
 */
export function injectionPlan(settings: InjectionSettings, layers: number): InjectionPlan {
  const { injectedStates, startLayer, endLayer, perceptionSees } = settings;
  if (!(startLayer >= 0 && startLayer < endLayer && endLayer <= layers)) {
    throw new EpalmError(
      "invalid_adapter",
      `layers ${startLayer} to ${endLayer}: expected 0 <= start < end <= ${layers}, the decoder's layers`,
    );
  }
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
