/** In bytes; a minute of 1080p as phones record it takes half of that. */
export const MAX_MEDIA_BYTES = 256 * 1024 * 1024;

/** What sound and video may be at most. */
export interface MediaLimits {
  /** In bytes, as encoded. Default: `MAX_MEDIA_BYTES`. */
  readonly maxBytes?: number | undefined;
}
