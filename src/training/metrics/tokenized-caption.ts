/** A picture's caption and what people wrote of it, as tokens without blanks; at least one reference. */
export interface TokenizedCaption {
  readonly candidate: readonly string[];
  readonly references: readonly (readonly string[])[];
}
