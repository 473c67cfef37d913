import { type AskModel, answerMedia, textsOf } from "../bulk/answer-run.js";
import type { CliContext } from "../context.js";
import { type AnswerFlags, trustOptions } from "../options/answer-options.js";
import { generationOptions } from "../options/generation-flags.js";
import type { ModelFlags } from "../options/model-option.js";

export interface CaptionFlags extends ModelFlags, AnswerFlags {}

/** `epalm caption` describes media. */
export async function caption(files: readonly string[], flags: CaptionFlags, context: CliContext): Promise<void> {
  const options = { ...generationOptions(flags), ...trustOptions(flags), adapter: flags.adapter };
  await answerMedia(
    { files, asked: [undefined] },
    flags,
    context,
    (model): AskModel =>
      async (medium, request) => {
        const { modality, signal, onText } = request;
        const answer = await model.caption(medium, { ...options, modality, signal, onText });
        return { texts: textsOf(answer), whole: answer };
      },
  );
}
