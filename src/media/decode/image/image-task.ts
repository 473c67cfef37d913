import type { ImagePreprocessing, ImageSize } from "../../../preprocessing/image-preprocessing.js";
import type { Augmentation } from "../../augment/augmentation.js";
import type { ImageFormat } from "../../detect/image-format.js";

/** Format and size of an image according to its file; the EXIF orientation is applied to height and width. */
export interface ImageInfo extends ImageSize {
  readonly format: ImageFormat;
}

export interface HeifImage extends ImageSize {
  /** ICC. */
  readonly profile: Uint8Array | undefined;
  /** Without the profile; undefined if no decoder is installed. */
  readonly png: Uint8Array | undefined;
}

/** What a process is to do with an image. */
export type ImageWork =
  /** Reads the header. */
  | { readonly kind: "info" }
  /** Counts the frames or pages. */
  | { readonly kind: "pages" }
  /** Decodes HEIC, if possible. */
  | { readonly kind: "heif" }
  /** Decodes to an encoder's input. */
  | {
      readonly kind: "pixels";
      readonly preprocessing: ImagePreprocessing;
      readonly augmentation?: Augmentation | undefined;
    }
  /** Decodes frames of an animation to an encoder's input. */
  | {
      readonly kind: "frames";
      readonly frames: number;
      readonly preprocessing: ImagePreprocessing;
      readonly maxSeconds: number;
      readonly augmentation?: Augmentation | undefined;
    }
  /** Makes a small JPEG that fits into a square of `side` pixels. */
  | { readonly kind: "thumbnail"; readonly side: number };

/** The result of each kind of work. */
export interface ImageResults {
  readonly info: ImageInfo;
  readonly pages: number;
  readonly heif: HeifImage;
  readonly pixels: Float32Array;
  readonly frames: readonly Float32Array[];
  readonly thumbnail: Uint8Array;
}

export type ImageResult = ImageResults[ImageWork["kind"]];

/** An image whose format is known. */
export interface Image {
  readonly bytes: Uint8Array;
  readonly format: ImageFormat;
  /** The name of the image in errors. */
  readonly where: string;
  /** Height times width of an image or a frame. */
  readonly maxPixels: number;
}

export interface ImageTask extends Image {
  readonly work: ImageWork;
  /** An image with more pixels is returned undecoded, for a process with higher limits. */
  readonly pixelsHere: number;
}
