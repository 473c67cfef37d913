import type { Command } from "commander";
import type { EvalFlags } from "../actions/eval.js";
import type { CliContext } from "../context.js";
import { concurrencyOption } from "../options/concurrency-option.js";
import { addDataSetOptions } from "../options/data-set-options.js";
import { addGenerationOptions } from "../options/generation-flags.js";
import { modalityOption } from "../options/modality-option.js";
import { addComputationOptions, addModelOption } from "../options/model-option.js";
import { integer } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";

/** Larger than any public data set. */
const MAX_EXAMPLES = 10_000_000;

const examples = `
DATA is a .jsonl file, a file in the official format of COCO captions, Karpathy's splits, VQA v2 (the questions, with
--annotations), GQA, MSR-VTT, MSVD or AudioCaps, or a folder in which each medium, such as name.png, has a text file
name.txt. Questions of GQA, MSR-VTT and MSVD are scored by exact match, all others by VQA accuracy.

Examples:
  epalm eval held-out.jsonl -m captioner --predictions predictions.jsonl
  epalm eval held-out.jsonl -m captioner --blind
  epalm eval barks.jsonl -m listener --adapter-file runs/barks/adapter.safetensors
  epalm eval v2_OpenEnded_mscoco_val2014_questions.json --annotations v2_mscoco_val2014_annotations.json \\
    --media val2014 -m captioner --adapter vqa --limit 1000`;

/** `epalm eval` scores a model folder on a data set. */
export function addEvalCommand(program: Command, context: CliContext): void {
  const command = program
    .command("eval")
    .summary("score a model on a data set")
    .description(
      "Generates captions or answers for a data set and scores them: CIDEr, CIDEr-D, BLEU, ROUGE-L, VQA accuracy, exact match.",
    )
    .argument("<data>", "file or folder of examples");
  addModelOption(command);
  addDataSetOptions(command)
    .option("--adapter <name>", "adapter to use (default: the first one trained for the task and the modality)")
    .option("--adapter-file <file>", "adapter file to use instead of an adapter in the model folder")
    .option("--blind", "text-only baseline: replace the encoder states with zeros")
    .addOption(
      modalityOption("modality of the examples (default: that of the adapter, or else any that the model accepts)"),
    )
    .option("--skip-bad", "skip invalid examples and list them")
    .option("--limit <n>", "use only the first n examples", integer(1, MAX_EXAMPLES))
    .addOption(
      concurrencyOption(
        "examples in progress at the same time (default: 8; 1 for a quantized decoder, whose scores would differ from run to run)",
      ),
    )
    .option("--predictions <file>", "write predictions to this file, one JSON object per line")
    .option("--json", "print the scores as JSON");
  addComputationOptions(command);
  addGenerationOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action(async (data: string, flags: EvalFlags) =>
      (await import("../actions/eval.js")).evalCommand(data, flags, context),
    );
}
