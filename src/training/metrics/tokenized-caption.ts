/** A picture's caption and what people wrote of it, as tokens without blanks; at least one reference. */
export interface TokenizedPicture {
  readonly candidate: readonly string[];
  readonly references: readonly (readonly string[])[];
}
