import type { CliContext } from "../context.js";
import { type AnswerFlags, trustOptions } from "../options/answer-options.js";
import { generationOptions } from "../options/generation-flags.js";
import type { ModelFlags } from "../options/model-option.js";
import { type AskModel, answerMedia, textsOf } from "../output/answer-media.js";
import { withModel } from "./with-model.js";

export interface CaptionFlags extends ModelFlags, AnswerFlags {}

/** `epalm caption` describes media. */
export async function caption(files: readonly string[], flags: CaptionFlags, context: CliContext): Promise<void> {
  const options = {
    ...generationOptions(flags),
    ...trustOptions(flags),
    adapter: flags.adapter,
    signal: context.signal,
  };
  const questions = files.map((file) => ({ file, modality: flags.modality }));
  await withModel(flags, context, (model) => {
    const askModel: AskModel = async (medium, { modality }, onText) => {
      const answer = await model.caption(medium, { ...options, modality, onText });
      return { texts: textsOf(answer), whole: answer };
    };
    return answerMedia({ questions, flags, context, model, askModel });
  });
}
