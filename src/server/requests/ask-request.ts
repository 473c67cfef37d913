import type { ChatMessage } from "../../index.js";
import type { CaptionRequest, MediaField, VqaRequest } from "../../wire.js";
import type { GivenMedium } from "./medium.js";

/** A request for a caption. */
export interface CaptionAsk {
  readonly task: "caption";
  readonly fields: Omit<CaptionRequest, MediaField>;
  readonly medium: GivenMedium;
  /** The whole conversation, for a model with a chat template. */
  readonly messages?: readonly ChatMessage[] | undefined;
}

/** A request for answers to questions. */
export interface VqaAsk {
  readonly task: "vqa";
  readonly fields: Omit<VqaRequest, MediaField>;
  readonly medium: GivenMedium;
  /** The whole conversation, for a model with a chat template; its last message contains the question. */
  readonly messages?: readonly ChatMessage[] | undefined;
}

/** A request to the models; the requests of all endpoints are converted to it. */
export type AskRequest = CaptionAsk | VqaAsk;
