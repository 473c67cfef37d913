import { z } from "zod";
import { EpalmError } from "../../core/errors.js";

/** The kinds of attention that layers of a decoder can have, as in `layer_types` of a `config.json`. */
export const layerTypes = z.array(z.enum(["full_attention", "sliding_attention"]));

export type LayerType = z.infer<typeof layerTypes>[number];

/** What a config says about the windows of its layers. */
export interface WindowSettings {
  readonly layers: number;
  readonly listed: readonly LayerType[] | null | undefined;
  /** The layers with a window if the config does not list the types. */
  readonly slides: (layer: number) => boolean;
  /** The key of the window's size and its value. */
  readonly window: number | null | undefined;
}

/**
 * The type of each layer. @throws `unsupported_architecture` if the list has another length than the model, or if a
 * layer slides without a window
 */
export function resolveLayerTypes(
  architecture: string,
  { layers, listed, slides, window }: WindowSettings,
): readonly LayerType[] {
  const types =
    listed ??
    Array.from({ length: layers }, (_, layer): LayerType => (slides(layer) ? "sliding_attention" : "full_attention"));
  const refuse = (message: string) =>
    new EpalmError("unsupported_architecture", `${architecture} config.json: ${message}`);
  if (types.length !== layers) {
    throw refuse(`'layer_types': expected one type for each of the ${layers} layers, got ${types.length}`);
  }
  if (types.includes("sliding_attention") && !window) {
    throw refuse("'sliding_window': layers with sliding_attention need the size of a window, which is not in use");
  }
  return types;
}
