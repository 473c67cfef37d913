import sharp from "sharp";
import { EpalmError, messageOf } from "../../../core/errors.js";
import type { HeifImage, Image } from "./image-task.js";
import { checkPixels, decoding } from "./sharp-pixels.js";

/** Runs in the processes of `ImageProcess` only. */

/** The optional package `heic-decode`: libheif as WebAssembly. */
type DecodeHeic = (given: { readonly buffer: Uint8Array }) => Promise<{
  readonly width: number;
  readonly height: number;
  /** [height, width, 4] */
  readonly data: Uint8ClampedArray;
}>;

/** Reads the header of a HEIC file, and decodes it if `heic-decode` is installed. @throws invalid_media, too_large */
export async function decodeHeif({ bytes, where, maxPixels }: Image): Promise<HeifImage> {
  const { width, height, icc } = await decoding(where, "heic", () => sharp(bytes).metadata());
  checkPixels({ width, height }, maxPixels, where, "its size");
  const decode = await decoder();
  if (!decode) return { width, height, profile: icc, png: undefined };
  const { data, ...size } = await decode({ buffer: bytes }).catch((error: unknown) => {
    throw new EpalmError("invalid_media", `${where}: heic cannot be decoded: ${messageOf(error)}`);
  });
  const png = await sharp(data, { raw: { ...size, channels: 4 } })
    .png({ compressionLevel: 1 })
    .toBuffer();
  return { ...size, profile: icc, png };
}

async function decoder(): Promise<DecodeHeic | undefined> {
  const name = "heic-decode";
  const loaded: { readonly default: DecodeHeic } | undefined = await import(name).catch(() => undefined);
  return loaded?.default;
}
