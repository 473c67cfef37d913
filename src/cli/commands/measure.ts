import type { Command } from "commander";
import type { MeasureFlags } from "../actions/measure.js";
import type { CliContext } from "../context.js";
import { modalityOption } from "../options/modality-option.js";
import { addComputationOptions, addModelOption } from "../options/model-option.js";
import { styleHeadings } from "../output/colours.js";

const examples = `
Texts are scored without a medium. The [CLS] states are compared for each block of the encoder.

Examples:
  epalm measure --model captioner-int8 --against captioner-fp32
  epalm measure -m captioner-int4 --against captioner-fp32 --texts captions.txt --files a.jpg b.jpg --json`;

/** `epalm measure` compares two model folders, usually of different precision. */
export function addMeasureCommand(program: Command, context: CliContext): void {
  const command = program
    .command("measure")
    .summary("compare the outputs of two builds of a model")
    .description(
      "Compares two builds of one model, such as int8 and fp32: the log-probabilities of texts and the states of an encoder.",
    );
  addModelOption(command).requiredOption("--against <dir>", "model folder to compare with");
  addComputationOptions(command);
  command
    .option("--texts <file>", "texts to score, one per line (default: a few built-in sentences)")
    .option("--files <files...>", "media to encode (default: one generated medium)")
    .addOption(modalityOption("modality of the encoders to compare (default: that of the model's first encoder)"))
    .option("--json", "print one JSON object")
    .addHelpText("after", styleHeadings(examples))
    .action(async (flags: MeasureFlags) => (await import("../actions/measure.js")).measure(flags, context));
}
