import type { Command } from "commander";
import type { TrainFlags } from "../actions/train.js";
import type { CliContext } from "../context.js";
import { styleHeadings } from "../output/colours.js";

const examples = `
The config is YAML or JSON; docs/training.md lists its keys. Killed or stopped with Ctrl-C, the same command goes on
from the last checkpoint. OUTPUT then holds adapter.safetensors, log.jsonl (a line per step) and report.html.

Examples:
  epalm train plants.yaml
  epalm train plants.yaml --blind --output runs/plants-blind`;

/** `epalm train`: an adapter from one's own data. */
export function addTrainCommand(program: Command, context: CliContext): void {
  program
    .command("train")
    .summary("train an adapter on your own data")
    .description(
      "Trains an adapter between a model folder's frozen encoder, of pictures, sounds or videos, and its frozen decoder.",
    )
    .argument("<config>", "YAML or JSON file")
    .option("-o, --output <dir>", "instead of the config's")
    .option("--blind", "train without the media: what they add is the difference")
    .option("--skip-bad", "leave bad examples out and list them")
    .option("--json", "print the result as JSON")
    .addHelpText("after", styleHeadings(examples))
    .action(async (config: string, flags: TrainFlags) =>
      (await import("../actions/train.js")).trainCommand(config, flags, context),
    );
}
