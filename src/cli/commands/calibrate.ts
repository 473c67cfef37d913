import type { Command } from "commander";
import type { CalibrateFlags } from "../actions/calibrate.js";
import type { CliContext } from "../context.js";
import { addDataSetOptions } from "../options/data-set-options.js";
import { addComputationOptions } from "../options/model-option.js";
import { integer, someText } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";

/** Larger than any public data set. */
const MAX_EXAMPLES = 10_000_000;

const examples = `
The adapters are stored again with a summary of the media, from which the familiarity of later media is computed, and
with a calibration of the confidence of answers. Nothing is trained, and no answer changes. At least 100 examples are
needed, best from the same source as the training data but not part of them. docs/confidence.md explains the results.

Examples:
  epalm calibrate captioner --data plants/validation.jsonl
  epalm calibrate captioner --data plants/validation.jsonl --adapter plants --json`;

/** `epalm calibrate` adds familiarity and confidence to the adapters of a model folder. */
export function addCalibrateCommand(program: Command, context: CliContext): void {
  const command = program
    .command("calibrate")
    .summary("let adapters report unfamiliar media and their confidence")
    .description("Measures on a data set which media an adapter knows and how often its answers are correct.")
    .argument("<model>", "model folder")
    .requiredOption("--data <file>", "file or folder of examples, as for `epalm eval`", someText);
  addDataSetOptions(command)
    .option("--adapter <name>", "adapter to calibrate (default: all for the modalities of the examples)")
    .option("--skip-bad", "skip invalid examples and list them")
    .option("--limit <n>", "use only the first n examples", integer(1, MAX_EXAMPLES))
    .option("--json", "print the report as JSON");
  addComputationOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action(async (model: string, flags: CalibrateFlags) =>
      (await import("../actions/calibrate.js")).calibrateCommand(model, flags, context),
    );
}
