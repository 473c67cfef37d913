import type { Command } from "commander";
import type { MeasureFlags } from "../actions/measure.js";
import type { CliContext } from "../context.js";
import { modalityOption } from "../options/modality-option.js";
import { addModelOption, addThreadsOption } from "../options/model-option.js";
import { styleHeadings } from "../output/colours.js";

const examples = `
Texts are scored without a medium; [CLS] states are compared block by block of the encoder.

Examples:
  epalm measure --model captioner-int8 --against captioner-fp32
  epalm measure -m captioner-int4 --against captioner-fp32 --texts captions.txt --files a.jpg b.jpg --json`;

/** `epalm measure`: what precision costs, model folder against model folder. */
export function addMeasureCommand(program: Command, context: CliContext): void {
  const command = program
    .command("measure")
    .summary("compare two model folders: what precision costs")
    .description(
      "Compares two builds of one model, such as int8 against fp32: log-probabilities of texts, and an encoder's states.",
    );
  addModelOption(command).requiredOption("--against <dir>", "model folder to compare with");
  addThreadsOption(command);
  command
    .option("--texts <file>", "a text per line (default: a few sentences of our own)")
    .option("--files <files...>", "what the encoders look at or listen to (default: something generated)")
    .addOption(modalityOption("encoder that is compared (default: the model's first)"))
    .option("--json", "print one JSON object")
    .addHelpText("after", styleHeadings(examples))
    .action(async (flags: MeasureFlags) => (await import("../actions/measure.js")).measure(flags, context));
}
