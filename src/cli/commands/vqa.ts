import { type Command, Option } from "commander";
import type { VqaFlags } from "../actions/vqa.js";
import type { CliContext } from "../context.js";
import { addAnswerOptions, manyFiles } from "../options/answer-options.js";
import { addGenerationOptions } from "../options/generation-flags.js";
import { addModelOption, addThreadsOption } from "../options/model-option.js";
import { each, someText } from "../options/option-values.js";
import { streamOption } from "../options/stream-option.js";
import { styleHeadings } from "../output/colours.js";

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
      new Option("--rank-by <score>", "of candidates' tokens: sum or mean of log-probabilities (default: sum)").choices(
        ["sum", "mean"],
      ),
    );
  addModelOption(command);
  addAnswerOptions(command, "[files...]").addOption(streamOption().conflicts("candidate"));
  addThreadsOption(command);
  addGenerationOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action(async (files: string[], flags: VqaFlags) => (await import("../actions/vqa.js")).vqa(files, flags, context));
}
