import { EpalmError } from "../../core/errors.js";
import type { Model } from "../../pipeline.js";
import type { CliContext } from "../context.js";
import type { AnswerFlags } from "../options/answer-options.js";
import { generationOptions, givenGenerationFlags } from "../options/generation-flags.js";
import { type MediaQuestion, readQuestions } from "../options/media-questions.js";
import type { ModelFlags } from "../options/model-option.js";
import { type AskModel, answerMedia } from "../output/answer-media.js";
import { withModel } from "./with-model.js";

export interface VqaFlags extends ModelFlags, AnswerFlags {
  readonly question?: string;
  readonly questions?: string;
  readonly candidate?: string[];
  readonly rankBy?: "sum" | "mean";
}

/** `epalm vqa` answers questions about media. */
export async function vqa(files: readonly string[], flags: VqaFlags, context: CliContext): Promise<void> {
  refuseMixedModes(flags);
  const questions = await questionsOf(files, flags);
  await withModel(flags, context, (model) =>
    answerMedia(questions, flags, context, model, askWith(model, flags, context)),
  );
}

async function questionsOf(
  files: readonly string[],
  { question, questions, modality }: VqaFlags,
): Promise<MediaQuestion[]> {
  if (questions !== undefined) {
    if (files.length === 0) return readQuestions(questions);
    throw new EpalmError("invalid_option", "files: expected none with --questions, whose file names them");
  }
  if (question === undefined) throw new EpalmError("invalid_option", "expected --question or --questions, got neither");
  if (files.length === 0) throw new EpalmError("invalid_option", "files: expected at least one file, or --questions");
  return files.map((file) => ({ file, modality, question }));
}

/** Rejects generation options for ranking, and ranking options for generation. */
function refuseMixedModes(flags: VqaFlags): void {
  const [decoding] = givenGenerationFlags(flags);
  if (flags.candidate && decoding !== undefined) {
    throw new EpalmError("invalid_option", `--candidate: expected no generation options with it, got ${decoding}`);
  }
  if (!flags.candidate && flags.rankBy) {
    throw new EpalmError("invalid_option", "--rank-by: expected --candidate with it");
  }
}

function askWith(model: Model, flags: VqaFlags, { signal }: CliContext): AskModel {
  const { candidate, adapter } = flags;
  if (candidate === undefined) {
    return async (medium, { question = "", modality }, onText) => {
      const answer = await model.vqa(medium, question, {
        ...generationOptions(flags),
        adapter,
        modality,
        signal,
        onText,
      });
      return { texts: answer.texts, whole: answer };
    };
  }
  return async (medium, { question = "", modality }) => {
    const ranking = await model.rank(medium, question, candidate, {
      ...(flags.rankBy ? { normalisation: flags.rankBy } : {}),
      adapter,
      modality,
      signal,
    });
    const ranked = ranking.answers.map(({ text, probability }) => ({ text, score: probability }));
    return { texts: flags.scores ? ranked : ranked.slice(0, 1), whole: ranking };
  };
}
