/** A caption of an image and at least one reference, as tokens without spaces. */
export interface TokenizedCaption {
  readonly candidate: readonly string[];
  readonly references: readonly (readonly string[])[];
}
