import type { Command } from "commander";
import type { EvalFlags } from "../actions/eval.js";
import type { CliContext } from "../context.js";
import { addGenerationOptions } from "../options/generation-flags.js";
import { modalityOption } from "../options/modality-option.js";
import { addModelOption, addThreadsOption } from "../options/model-option.js";
import { integer } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";

/** Larger than any public data set. */
const MAX_EXAMPLES = 10_000_000;

const examples = `
DATA is a .jsonl file, a COCO captions JSON, VQA v2 questions (with --annotations), or a folder of name.png
(or another picture, sound or video) + name.txt.

Examples:
  epalm eval held-out.jsonl -m captioner --predictions predictions.jsonl
  epalm eval held-out.jsonl -m captioner --blind
  epalm eval barks.jsonl -m listener --adapter-file runs/barks/adapter.safetensors
  epalm eval v2_OpenEnded_mscoco_val2014_questions.json --annotations v2_mscoco_val2014_annotations.json \\
    --media val2014 -m captioner --adapter vqa --limit 1000`;

/** `epalm eval`: scores of a model folder on a data set. */
export function addEvalCommand(program: Command, context: CliContext): void {
  const command = program
    .command("eval")
    .summary("score a model on a data set")
    .description("Lets a model caption or answer a data set: CIDEr, CIDEr-D, BLEU, ROUGE-L, VQA accuracy.")
    .argument("<data>", "file or folder");
  addModelOption(command)
    .option("--annotations <file>", "VQA v2: the annotations of the questions")
    .option("--media <dir>", "COCO and VQA v2: folder of the pictures (default: the file's)")
    .option("--image-pattern <name>", "VQA v2: names of pictures (default: COCO_{split}_{id:012d}.jpg)")
    .option("--adapter <name>", "adapter (default: the first that was trained for the task and the medium)")
    .option("--adapter-file <file>", "an adapter that stands in no model folder")
    .option("--blind", "leave the media out: what they add is the difference")
    .addOption(modalityOption("of the examples (default: what the adapter takes, or else what the model takes)"))
    .option("--skip-bad", "leave bad examples out and list them")
    .option("--limit <n>", "the first examples only", integer(1, MAX_EXAMPLES))
    .option("--predictions <file>", "write them here, a JSON object per line")
    .option("--json", "print the scores as JSON");
  addThreadsOption(command);
  addGenerationOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action(async (data: string, flags: EvalFlags) =>
      (await import("../actions/eval.js")).evalCommand(data, flags, context),
    );
}
