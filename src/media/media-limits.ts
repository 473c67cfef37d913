/** In bytes; one minute of 1080p video from a phone takes half of this. */
export const MAX_MEDIA_BYTES = 256 * 1024 * 1024;

/** Limits on audio and video. */
export interface MediaLimits {
  /** In bytes, as encoded. Default: `MAX_MEDIA_BYTES`. */
  readonly maxBytes?: number | undefined;
  /** In bytes: temporary files of all media together. Default: `MAX_TEMPORARY_BYTES`. */
  readonly maxTemporaryBytes?: number | undefined;
}
