import { type Command, Option } from "commander";
import type { VqaFlags } from "../actions/vqa.js";
import type { CliContext } from "../context.js";
import { addAnswerOptions, manyFiles } from "../options/answer-options.js";
import { addGenerationOptions } from "../options/generation-flags.js";
import { addComputationOptions, addModelOption } from "../options/model-option.js";
import { each, someText } from "../options/option-values.js";
import { streamOption } from "../options/stream-option.js";
import { styleHeadings } from "../output/colours.js";

const examples = `${manyFiles}

With several questions, each line begins with \`path<TAB>question<TAB>\`, and each question has its own line of JSON.

Without --question, the questions about tables and tar shards are in the column \`question\`, or in the key
\`question\` of the .json member of a sample.

With --candidate, the model ranks the given answers instead of generating one. The command prints the best answer, or
with --scores all answers with their probabilities, which add up to 1.

Examples:
  epalm vqa cat.jpg --question "What colour is the cat?" --model captioner
  epalm vqa cat.jpg -q "What colour is the cat?" -q "Is it asleep?"
  epalm vqa *.jpg -m captioner -q "Is it open?" --candidate yes --candidate no --scores
  epalm vqa street.mp4 -m hearing -q "Is a siren heard?" --modality audio
  epalm vqa questions.csv --column photo -m captioner -o answers.csv
  epalm vqa --questions questions.jsonl -m captioner --output answers.jsonl`;

/** `epalm vqa` answers questions about images, audio files and videos. */
export function addVqaCommand(program: Command, context: CliContext): void {
  const command = program
    .command("vqa")
    .summary("answer questions about images, audio files and videos")
    .description(
      "Answers one or more questions about each file, or the questions in a file, which names the medium of each.",
    )
    .option("-q, --question <text>", "question about each file; may be repeated", each(someText))
    .addOption(
      new Option(
        "--questions <file>",
        'file of questions, one {"image": PATH, "question": TEXT} per line; "audio" or "video" may replace "image"',
      )
        .argParser(someText)
        .conflicts(["question", "modality"]),
    )
    .option("--candidate <text>", "answer to choose from; may be repeated", each(someText))
    .addOption(
      new Option(
        "--rank-by <score>",
        "score of a candidate: sum or mean of the log-probabilities of its tokens (default: sum)",
      ).choices(["sum", "mean"]),
    );
  addModelOption(command);
  addAnswerOptions(command, "[files...]").addOption(streamOption().conflicts("candidate"));
  addComputationOptions(command);
  addGenerationOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action(async (files: string[], flags: VqaFlags) => (await import("../actions/vqa.js")).vqa(files, flags, context));
}
