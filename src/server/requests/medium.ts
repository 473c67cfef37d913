import { decodeBase64, decodeDataUrl, isDataUrl } from "../../core/encoded-bytes.js";
import { EpalmError } from "../../core/errors.js";
import type { Modality } from "../../core/modality.js";
import type { MediaField } from "../../wire.js";
import { FieldError, namingFields } from "../http/problem.js";

interface Placed {
  /** Determines the modality. */
  readonly field: MediaField;
  /** Path of the medium in the request, for errors. Default: `field`. */
  readonly path?: string;
}

/** The medium of a request and the field that contained it. */
export interface Medium extends Placed {
  readonly bytes: Uint8Array;
}

/** A medium that the request contains, or the URL of one. */
export type SingleMedium = Medium | (Placed & { readonly address: string });

/** The frames of a video as images. */
export interface FrameList extends Placed {
  readonly frames: readonly SingleMedium[];
}

export type GivenMedium = SingleMedium | FrameList;

/** Images that one request may contain as frames; encoders take 8 or 16. */
const MAX_FRAMES = 128;

/** Number of characters at the start of a string that decide what it is. */
const SAMPLE = 256;

/**
 * Interprets the value of a media field: base64 and data URLs are decoded; an http or https URL is kept.
 *
 * @param path path of the value in the request. Default: `field`
 * @throws FieldError: invalid_option, too_large
 */
export function givenMedium(field: MediaField, text: string, maxBytes: number, path: string = field): SingleMedium {
  const [, scheme] = /^\s*([a-z][a-z0-9+.-]*):/i.exec(text.slice(0, SAMPLE)) ?? [];
  if (/^https?$/i.test(scheme ?? "")) return { field, path, address: text.trim() };
  try {
    return { field, path, bytes: isDataUrl(text) ? decodeDataUrl(text, maxBytes) : decodeBase64(text, maxBytes) };
  } catch (error) {
    throw namingFields(error, path);
  }
}

/** Several images as the frames of a video. @throws FieldError: too_large */
export function frameList(frames: readonly SingleMedium[], path: string): FrameList {
  if (frames.length <= MAX_FRAMES) return { field: "video", path, frames };
  throw new FieldError("too_large", path, `expected at most ${MAX_FRAMES} images, got ${frames.length}`);
}

/** The name of a medium in errors. */
export function pathOf({ field, path = field }: Placed): string {
  return path;
}

/** Rewrites an error of the library to use the field names of the request; see `namingFields`. */
export function namingMedium(error: unknown, medium: GivenMedium): unknown {
  if (!("frames" in medium) || !(error instanceof EpalmError)) return namingFields(error, pathOf(medium));
  const [, index, message = ""] = /^media\[(\d+)\]: (.*)$/s.exec(error.message) ?? [];
  const frame = medium.frames[Number(index)];
  if (!frame) return namingFields(error, pathOf(medium));
  return new FieldError(error.code, pathOf(frame), message, { cause: error });
}

/** All bytes that a medium contains. */
export function bytesIn(medium: GivenMedium): readonly Uint8Array[] {
  if ("frames" in medium) return medium.frames.flatMap(bytesIn);
  return "bytes" in medium ? [medium.bytes] : [];
}

/** The modality that the request sets; undefined if the content decides. */
export function modalityOf({ field }: GivenMedium): Modality | undefined {
  return field === "media" ? undefined : field;
}
