import { EpalmError } from "../core/errors.js";
import { warmUpImageProcess } from "../media/decode/image/image-processes.js";
import { disableCache } from "../media/decode/image/sharp-pixels.js";
import { encoderInput, kindAmong, type LimitsByKind } from "../media/encoder-input.js";
import { type FrameImages, isFrameImages, type MediaInput } from "../media/read-media.js";
import type { Prepared } from "../model/encoder-preprocessing.js";
import { type MethodContext, serveThread } from "../runtime/serve-thread.js";
import type { PreparedMedium, PrepareMedium } from "./media-thread.js";

/** The worker of `MediaThread`. */
serveThread({
  warmUp: () => warmUpImageProcess(),
  async prepare(
    { input, choices, limits, augmentation }: PrepareMedium,
    context: MethodContext,
  ): Promise<PreparedMedium> {
    disableCache();
    const choice = await chosen(choices, input, limits, context.signal);
    const data = await encoderInput(input, choice, limits, context.signal, augmentation);
    context.transfer(data.buffer as ArrayBuffer);
    return { modality: choice.modality, data };
  },
});

async function chosen(
  choices: readonly Prepared[],
  input: MediaInput | FrameImages,
  limits: LimitsByKind,
  signal: AbortSignal,
): Promise<Prepared> {
  const [only, ...others] = choices;
  if (only && others.length === 0) return only;
  const kinds = choices.map(({ modality }) => modality);
  const kind = isFrameImages(input) ? "video" : await kindAmong(input, kinds, limits, signal);
  const choice = choices.find(({ modality }) => modality === kind);
  if (choice) return choice;
  throw new EpalmError("internal", `media: no encoder for ${kind}`);
}
