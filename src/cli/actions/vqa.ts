import { EpalmError } from "../../core/errors.js";
import type { Modality } from "../../core/modality.js";
import type { MediumInput } from "../../encoding/media-encoder.js";
import { ABSTENTION, type EncodeOptions, type Model, type Timings } from "../../pipeline.js";
import type { CliContext } from "../context.js";
import { type AnswerFlags, trustOptions } from "../options/answer-options.js";
import { generationOptions, givenGenerationFlags } from "../options/generation-flags.js";
import { type MediaQuestion, readQuestions } from "../options/media-questions.js";
import type { ModelFlags } from "../options/model-option.js";
import { type AskModel, answerMedia, textsOf } from "../output/answer-media.js";
import { withModel } from "./with-model.js";

export interface VqaFlags extends ModelFlags, AnswerFlags {
  readonly question?: string[];
  readonly questions?: string;
  readonly candidate?: string[];
  readonly rankBy?: "sum" | "mean";
}

/** `epalm vqa` answers questions about media. */
export async function vqa(files: readonly string[], flags: VqaFlags, context: CliContext): Promise<void> {
  refuseMixedModes(flags);
  const questions = await questionsOf(files, flags);
  await withModel(flags, context, (model) =>
    answerMedia({ questions, flags, context, model, askModel: askWith(model, flags, context) }),
  );
}

async function questionsOf(
  files: readonly string[],
  { question: asked, questions, modality }: VqaFlags,
): Promise<MediaQuestion[]> {
  if (questions !== undefined) {
    if (files.length === 0) return readQuestions(questions);
    throw new EpalmError("invalid_option", "files: expected none with --questions, whose file names them");
  }
  if (asked === undefined) throw new EpalmError("invalid_option", "expected --question or --questions, got neither");
  if (files.length === 0) throw new EpalmError("invalid_option", "files: expected at least one file, or --questions");
  const hasOwnQuestion = asked.length > 1 || undefined;
  return files.flatMap((file) => asked.map((question) => ({ file, modality, question, hasOwnQuestion })));
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
  const { candidate, adapter, question: asked = [] } = flags;
  const prepare = asked.length > 1 ? encodedOnce(model, { adapter, signal }) : unencoded;
  if (candidate === undefined) {
    return async (medium, { question = "", modality }, onText) => {
      const { input, timings } = await prepare(medium, modality);
      const options = { ...generationOptions(flags), ...trustOptions(flags), adapter, modality, signal, onText };
      const answer = await model.vqa(input, question, options);
      return { texts: textsOf(answer), whole: { ...answer, timings: { ...answer.timings, ...timings } } };
    };
  }
  return async (medium, { question = "", modality }) => {
    const { input, timings } = await prepare(medium, modality);
    const normalisation = flags.rankBy ? { normalisation: flags.rankBy } : {};
    const options = { ...normalisation, ...trustOptions(flags), adapter, modality, signal };
    const ranking = await model.rank(input, question, candidate, options);
    const ranked = ranking.answers.map(({ text, probability }) => ({ text, score: probability }));
    if (ranking.abstained) ranked[0] = { score: ranked[0]?.score ?? 0, text: flags.abstention ?? ABSTENTION };
    const whole = { ...ranking, timings: { ...ranking.timings, ...timings } };
    return { texts: flags.scores ? ranked : ranked.slice(0, 1), whole };
  };
}

/** A medium for requests, with the duration of its encoding if that has already happened. */
interface PreparedInput {
  readonly input: MediumInput;
  readonly timings: Partial<Timings>;
}

async function unencoded(input: MediumInput): Promise<PreparedInput> {
  return { input, timings: {} };
}

/** Encodes a medium only once if several questions about it follow one another. */
function encodedOnce(model: Model, options: EncodeOptions) {
  let latest: { medium: MediumInput; modality: Modality | undefined; prepared: Promise<PreparedInput> } | undefined;
  return (medium: MediumInput, modality: Modality | undefined): Promise<PreparedInput> => {
    if (latest?.medium !== medium || latest.modality !== modality) {
      const encoded = model.encode(medium, { ...options, modality });
      latest = { medium, modality, prepared: encoded.then((input) => ({ input, timings: input.timings })) };
    }
    return latest.prepared;
  };
}
