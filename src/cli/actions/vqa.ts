import { type Command, Option } from "commander";
import { EpalmError, type Model } from "../../index.js";
import type { CliContext } from "../context.js";
import {
  addGenerationOptions,
  generationOptions,
  givenGenerationFlags,
} from "../options/generation-flags.js";
import { type MediaQuestion, readQuestions } from "../options/media-questions.js";
import { each, someText } from "../options/option-values.js";
import { streamOption } from "../options/stream-option.js";
import { addModelOption, addThreadsOption, type ModelFlags, withModel } from "../options/with-model.js";
import {
  type AnswerFlags,
  type AskModel,
  addAnswerOptions,
  answerMedia,
  manyFiles,
} from "../output/answer-media.js";
import { styleHeadings } from "../output/colours.js";

interface VqaFlags extends ModelFlags, AnswerFlags {
  readonly question?: string;
  readonly questions?: string;
  readonly candidate?: string[];
  readonly rankBy?: "sum" | "mean";
}

const examples = `${manyFiles}

With candidates, the model ranks them instead of writing; the best is printed, or with --scores all of them, each
with its probability among them.

Examples:
  epalm vqa cat.jpg --question "What colour is the cat?" --model captioner
  epalm vqa *.jpg -m captioner -q "Is it open?" --candidate yes --candidate no --scores
  epalm vqa street.mp4 -m hearing -q "Is a siren heard?" --modality audio
  epalm vqa --questions questions.jsonl -m captioner --output answers.jsonl`;

/** `epalm vqa`: answers to a question about media. */
export function addVqaCommand(program: Command, context: CliContext): void {
  const command = program
    .command("vqa")
    .summary("answer a question about pictures, sounds or videos")
    .description("Answers a question about each file, or the questions of a file about theirs.")
    .option("-q, --question <text>", "what is asked", someText)
    .addOption(
      new Option(
        "--questions <file>",
        'instead: a line {"image": PATH, "question": TEXT} each, or "audio" or "video" instead',
      )
        .argParser(someText)
        .conflicts(["question", "modality"]),
    )
    .option("--candidate <text>", "an answer to choose from; may be repeated", each(someText))
    .addOption(
      new Option(
        "--rank-by <score>",
        "of candidates' tokens: sum or mean of log-probabilities (default: sum)",
      ).choices(["sum", "mean"]),
    );
  addModelOption(command);
  addAnswerOptions(command, "[files...]").addOption(streamOption().conflicts("candidate"));
  addThreadsOption(command);
  addGenerationOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action((files: string[], flags: VqaFlags) => vqa(files, flags, context));
}

async function vqa(files: readonly string[], flags: VqaFlags, context: CliContext): Promise<void> {
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
    throw new EpalmError("invalid_option", "files: expected none beside --questions, which names them");
  }
  if (question === undefined)
    throw new EpalmError("invalid_option", "--question: expected one, or --questions");
  if (files.length === 0)
    throw new EpalmError("invalid_option", "files: expected at least one, or --questions");
  return files.map((file) => ({ file, modality, question }));
}

/** Options of the one way to an answer mean nothing on the other. */
function refuseMixedModes(flags: VqaFlags): void {
  const [decoding] = givenGenerationFlags(flags);
  if (flags.candidate && decoding !== undefined) {
    throw new EpalmError(
      "invalid_option",
      `--candidate: expected no options of decoding beside it, got ${decoding}`,
    );
  }
  if (!flags.candidate && flags.rankBy) {
    throw new EpalmError("invalid_option", "--rank-by: expected --candidate beside it");
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
