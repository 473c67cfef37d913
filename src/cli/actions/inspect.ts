import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { untilAborted } from "../../core/abort.js";
import { EpalmError, openModelFolder } from "../../index.js";
import { MANIFEST_FILE } from "../../model/manifest.js";
import type { CliContext } from "../context.js";
import { styleHeadings } from "../output/colours.js";
import { describeCheckpoint } from "../output/describe-checkpoint.js";
import { describeModel } from "../output/describe-model.js";
import { formatCheckpoint } from "../output/format-checkpoint.js";
import { formatModel } from "../output/format-model.js";
import { print } from "../output/output.js";

interface InspectFlags {
  readonly json?: true;
  readonly verify?: true;
}

const examples = `
Examples:
  epalm inspect captioner --verify
  epalm inspect captioner --json | jq .manifest.encoder.origin
  epalm inspect epalm-caption.pth`;

/** `epalm inspect`: what is in a model folder or a checkpoint. */
export function addInspectCommand(program: Command, { signal }: CliContext): void {
  program
    .command("inspect")
    .summary("show what is in a model folder or a checkpoint")
    .description(
      "Shows what is in a model folder (backbones, sizes, frozen and trained parameters, tasks, adapters and where " +
        "they inject), or in a checkpoint: a safetensors or torch file, or a folder of the hub's layout.",
    )
    .argument("<path>", "model folder, checkpoint folder or file")
    .option("--json", "print one JSON object")
    .option("--verify", "compare the checksum of every file of a model folder")
    .addHelpText("after", styleHeadings(examples))
    .action((path: string, flags: InspectFlags) => untilAborted(inspect(path, flags), signal));
}

async function inspect(path: string, { json, verify }: InspectFlags): Promise<void> {
  if (existsSync(join(path, MANIFEST_FILE))) {
    const model = await describeModel(await openModelFolder(path, { checksums: verify === true }));
    const verdict = verify ? "\n\nevery file is as the manifest says" : "";
    print(json ? JSON.stringify({ ...model, verified: verify === true }) : formatModel(model) + verdict);
    return;
  }
  if (verify) {
    throw new EpalmError("invalid_option", `--verify: ${path} has no ${MANIFEST_FILE}, and so no checksums`);
  }
  const checkpoint = await describeCheckpoint(path);
  print(json ? JSON.stringify(checkpoint) : formatCheckpoint(checkpoint));
}
