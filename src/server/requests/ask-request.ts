import type { CaptionRequest, MediaField, VqaRequest } from "../../wire.js";
import type { GivenMedium } from "./medium.js";

/** A request for a caption. */
export interface CaptionAsk {
  readonly task: "caption";
  readonly fields: Omit<CaptionRequest, MediaField>;
  readonly medium: GivenMedium;
}

/** A request for answers to questions. */
export interface VqaAsk {
  readonly task: "vqa";
  readonly fields: Omit<VqaRequest, MediaField>;
  readonly medium: GivenMedium;
}

/** A request to the models; the requests of all endpoints are converted to it. */
export type AskRequest = CaptionAsk | VqaAsk;
