import { patchesPerSide } from "../../backbones/encoders/vit.js";
import { EpalmError } from "../../core/errors.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { EncoderFolder } from "./encoder-folder.js";
import { isPosition } from "./mae-graph.js";
import { interpolatePositions } from "./positions.js";

/**
 * The same encoder for images of a different size. Positions are interpolated; everything else is unchanged.
 *
 * @param imageSize pixels; a multiple of the patch size
 * @throws unsupported_architecture if the patch size does not divide `imageSize`; invalid_checkpoint if the positions
 * do not form the square grid of the config
 *
 * @example
 * ```ts
 * import { readEncoderFolder, resizeEncoder } from "epalm/fedmae";
 * const larger = resizeEncoder(await readEncoderFolder("encoder"), 384);
 * ```
 */
export function resizeEncoder({ config, tensors }: EncoderFolder, imageSize: number): EncoderFolder {
  const resized = { ...config, image_size: imageSize };
  const [from, to] = [patchesPerSide(config), patchesPerSide(resized)];
  const interpolated = (name: string, tensor: Tensor): Tensor => {
    if (!isPosition(name)) return tensor;
    if (tensor.shape[1] !== 1 + from * from) {
      throw new EpalmError(
        "invalid_checkpoint",
        `${name}: expected positions of ${from} x ${from} patches and a class token, got [${tensor.shape}]`,
      );
    }
    return interpolatePositions(tensor, from, to);
  };
  return {
    config: resized,
    tensors: new Map(Array.from(tensors, ([name, tensor]) => [name, interpolated(name, tensor)])),
  };
}
