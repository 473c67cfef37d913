import type { Command } from "commander";
import type { MergeFlags } from "../actions/merge.js";
import { someText } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";

const examples = `
The parts are those of \`epalm caption --shard i/n\` or \`epalm vqa --shard i/n\`, as JSON lines, CSV or Parquet. The command
writes nothing unless all n parts are there and complete, and no file has been answered twice. The order is that of one run
without --shard, except for files that failed at first. Sidecars and tar files need no merging.

Examples:
  epalm merge captions-*-of-00004.jsonl --output captions.jsonl`;

/** `epalm merge` joins the outputs of the shards of a run. */
export function addMergeCommand(program: Command): void {
  program
    .command("merge")
    .summary("join the outputs of the shards of a run")
    .description(
      "Joins the outputs of `--shard` into one file, after checking that nothing is missing or occurs twice.",
    )
    .argument("<parts...>", "output files of all shards, in any order")
    .requiredOption("-o, --output <file>", "file to write", someText)
    .option("--json", "print the counts as JSON")
    .addHelpText("after", styleHeadings(examples))
    .action(async (parts: string[], flags: MergeFlags) =>
      (await import("../actions/merge.js")).mergeCommand(parts, flags),
    );
}
