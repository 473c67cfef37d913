import type { Answer, EncodedMedium, Model } from "../../index.js";
import { adapterModality } from "../../model/encoders.js";

/** A question of typical length. */
const QUESTION = "What is in the middle of the picture, and what colour is it?";

/**
 * Greedily generates exactly `newTokens` tokens: the answer to a question if the model has an adapter for it, otherwise
 * a caption, whose prompt is short.
 */
export function askModel(model: Model, medium: EncodedMedium, newTokens: number, signal: AbortSignal): Promise<Answer> {
  const options = {
    beams: 1,
    maxNewTokens: newTokens,
    minNewTokens: newTokens,
    // One signal per request: Node warns about a leak if one signal has many listeners.
    signal: AbortSignal.any([signal]),
  };
  const { manifest } = model;
  const isAnswering = Object.values(manifest.adapters).some(
    (adapter) => adapter.tasks.includes("vqa") && adapterModality(manifest, adapter) === medium.modality,
  );
  return isAnswering ? medium.vqa(QUESTION, options) : medium.caption(options);
}
