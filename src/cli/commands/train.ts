import type { Command } from "commander";
import type { TrainFlags } from "../actions/train.js";
import type { CliContext } from "../context.js";
import { deviceOption } from "../options/device-options.js";
import { styleHeadings } from "../output/colours.js";

const examples = `
docs/training.md lists the keys of the config file. The same command resumes an interrupted run from its last
checkpoint. The output folder receives adapter.safetensors, log.jsonl (one line per step) and report.html. The adapter
is also installed in the model folder; an installed adapter of the same name is replaced only with --replace.

Examples:
  epalm train plants.yaml
  epalm train plants.yaml --replace
  epalm train plants.yaml --blind --output runs/plants-blind`;

/** `epalm train` trains an adapter. */
export function addTrainCommand(program: Command, context: CliContext): void {
  program
    .command("train")
    .summary("train an adapter on your own data")
    .description(
      "Trains an adapter between a frozen encoder (for images, audio or video) and the frozen decoder of a model folder.",
    )
    .argument("<config>", "config file in YAML or JSON")
    .option("-o, --output <dir>", "output folder, instead of the one in the config file")
    .option("--blind", "text-only baseline: replace the encoder states with zeros")
    .option("--replace", "replace an installed adapter of the same name")
    .option("--skip-bad", "skip invalid examples and list them")
    .addOption(deviceOption("where to compute, instead of the config file's (default: EPALM_DEVICE, or else cpu)"))
    .option("--json", "print the result as JSON")
    .addHelpText("after", styleHeadings(examples))
    .action(async (config: string, flags: TrainFlags) =>
      (await import("../actions/train.js")).trainCommand(config, flags, context),
    );
}
