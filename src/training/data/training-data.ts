import type { Modality } from "../../core/modality.js";
import type { BadExample, Example } from "./example.js";
import type { TrainingExample } from "./training-texts.js";

/** The data of a run, read and checked. */
export interface TrainingData {
  /** Modality of all media. */
  readonly modality: Modality;
  readonly training: readonly TrainingExample[];
  readonly validation: readonly Example[];
  /** Name of the score by which the best epoch is chosen; undefined if the last epoch is kept. */
  readonly score: string | undefined;
  readonly skipped: readonly BadExample[];
}
