import { EpalmError } from "../../core/errors.js";
import { ABSTENTION, type Model } from "../../pipeline.js";
import { type AskModel, answerMedia, textsOf } from "../bulk/answer-run.js";
import { isCsv } from "../bulk/csv-media.js";
import type { InputOptions } from "../bulk/inputs.js";
import { isParquet } from "../bulk/parquet/parquet-file.js";
import { isTar } from "../bulk/run-medium.js";
import type { CliContext } from "../context.js";
import { type AnswerFlags, trustOptions } from "../options/answer-options.js";
import { generationOptions, givenGenerationFlags } from "../options/generation-flags.js";
import type { ModelFlags } from "../options/model-option.js";

export interface VqaFlags extends ModelFlags, AnswerFlags {
  readonly question?: string[];
  readonly questions?: string;
  readonly candidate?: string[];
  readonly rankBy?: "sum" | "mean";
}

/** `epalm vqa` answers questions about media. */
export async function vqa(files: readonly string[], flags: VqaFlags, context: CliContext): Promise<void> {
  refuseMixedModes(flags);
  await answerMedia(inputsOf(files, flags), flags, context, (model) => askWith(model, flags));
}

function inputsOf(
  files: readonly string[],
  { question: asked, questions }: VqaFlags,
): Pick<InputOptions, "files" | "asked" | "questions"> {
  if (questions !== undefined) {
    if (files.length === 0) return { files, asked: undefined, questions };
    throw new EpalmError("invalid_option", "files: expected none with --questions, whose file names them");
  }
  if (asked === undefined && !files.some(hasQuestions)) {
    throw new EpalmError("invalid_option", "expected --question or --questions, got neither");
  }
  if (files.length === 0) throw new EpalmError("invalid_option", "files: expected at least one file, or --questions");
  return { files, asked };
}

/** Whether the rows or samples of a file may contain questions. */
function hasQuestions(file: string): boolean {
  return isCsv(file) || isTar(file) || isParquet(file);
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

function askWith(model: Model, flags: VqaFlags): AskModel {
  const { candidate, adapter } = flags;
  const trust = { ...trustOptions(flags), adapter };
  if (candidate === undefined) {
    const options = { ...generationOptions(flags), ...trust };
    return async (medium, { question = "", modality, signal, onText }) => {
      const answer = await model.vqa(medium, question, { ...options, modality, signal, onText });
      return { texts: textsOf(answer), whole: answer };
    };
  }
  const options = { ...(flags.rankBy ? { normalisation: flags.rankBy } : {}), ...trust };
  return async (medium, { question = "", modality, signal }) => {
    const ranking = await model.rank(medium, question, candidate, { ...options, modality, signal });
    const ranked = ranking.answers.map(({ text, probability }) => ({ text, score: probability }));
    if (ranking.abstained) ranked[0] = { score: ranked[0]?.score ?? 0, text: flags.abstention ?? ABSTENTION };
    return { texts: flags.scores ? ranked : ranked.slice(0, 1), whole: ranking };
  };
}
