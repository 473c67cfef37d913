import type { ChatMessage } from "../../index.js";
import type { CaptionRequest, MediaField } from "../../wire.js";
import type { GivenMedium } from "../requests/medium.js";

/** A message with its path in the request. */
export interface Turn {
  readonly message: ChatMessage;
  readonly path: string;
}

/** A request in the format of another program, which has a prompt in place of a task. */
export interface PromptRequest {
  /** `MODEL` or `MODEL/ADAPTER`. */
  readonly model: string | undefined;
  /** The text that is a question or requests a caption, with its path in the request; undefined if there is none. */
  readonly prompt: { readonly text: string; readonly path: string } | undefined;
  readonly medium: GivenMedium;
  /** Options under the names of `/caption`. */
  readonly fields: Omit<CaptionRequest, MediaField | "model">;
  /** Paths in the request, where they differ from the names of `/caption` and `/vqa`. */
  readonly paths: Readonly<Record<string, string>>;
  /** Paths of the parts of the request that have no effect. */
  readonly ignored: readonly string[];
  /** All messages, for models that have a chat template. */
  readonly conversation: {
    readonly turns: readonly Turn[];
    /** Paths of the parts that have no effect even then. */
    readonly ignored: readonly string[];
  };
}
