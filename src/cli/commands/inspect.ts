import type { Command } from "commander";
import { untilAborted } from "../../core/abort.js";
import type { InspectFlags } from "../actions/inspect.js";
import type { CliContext } from "../context.js";
import { styleHeadings } from "../output/colours.js";

const examples = `
Examples:
  epalm inspect captioner --verify
  epalm inspect captioner --json | jq .manifest.encoder.origin
  epalm inspect epalm-caption.pth`;

/** `epalm inspect` shows the contents of a model folder or a checkpoint. */
export function addInspectCommand(program: Command, { signal }: CliContext): void {
  program
    .command("inspect")
    .summary("show the contents of a model folder or a checkpoint")
    .description(
      "Shows the contents of a model folder (backbones, sizes, frozen and trained parameters, tasks, adapters and the " +
        "layers into which they inject) or of a checkpoint (a safetensors or torch file, or a folder as on the hub).",
    )
    .argument("<path>", "model folder, checkpoint folder or file")
    .option("--json", "print one JSON object")
    .option("--verify", "verify the checksum of every file in a model folder")
    .addHelpText("after", styleHeadings(examples))
    .action(async (path: string, flags: InspectFlags) => {
      const { inspect } = await import("../actions/inspect.js");
      return untilAborted(inspect(path, flags), signal);
    });
}
