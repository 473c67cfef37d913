import type { ImagePreprocessing } from "../../../preprocessing/image-preprocessing.js";
import type { Augmentation } from "../../augment/augmentation.js";
import { imageFormatOf } from "../../detect/image-format.js";
import { inImageProcess } from "./image-processes.js";

/** The number of frames, their preprocessing and the limits on a medium. */
export interface FrameSettings {
  readonly frames: number;
  readonly preprocessing: ImagePreprocessing;
  readonly maxPixels: number;
  readonly maxSeconds: number;
  readonly signal: AbortSignal | undefined;
  readonly augmentation: Augmentation | undefined;
}

/** The image format of bytes whose format supports animation; undefined for others. */
export function animationFormatOf(bytes: Uint8Array): "gif" | "webp" | undefined {
  const format = imageFormatOf(bytes);
  return format === "gif" || format === "webp" ? format : undefined;
}

/** Whether the bytes are a GIF or WebP with several frames. @throws the errors of `inImageProcess` */
export async function isAnimation(bytes: Uint8Array, where: string, signal?: AbortSignal): Promise<boolean> {
  const format = animationFormatOf(bytes);
  if (format === undefined) return false;
  const image = { bytes, format, where, maxPixels: Number.POSITIVE_INFINITY };
  return (await inImageProcess(image, { kind: "pages" }, signal)) > 1;
}

/**
 * Decodes frames of a GIF or WebP as `decodeVideo` does, but with libvips: ffmpeg does not read animated WebP.
 *
 * @throws the errors of `inImageProcess`
 */
export function decodeAnimation(
  bytes: Uint8Array,
  format: "gif" | "webp",
  where: string,
  { maxPixels, signal, frames, preprocessing, maxSeconds, augmentation }: FrameSettings,
): Promise<readonly Float32Array[]> {
  const work = { kind: "frames", frames, preprocessing, maxSeconds, augmentation } as const;
  return inImageProcess({ bytes, format, where, maxPixels }, work, signal);
}
