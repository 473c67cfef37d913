import type { Command } from "commander";
import { sampleWords } from "../../media/sample-words.js";
import type { BenchFlags } from "../actions/bench.js";
import type { CliContext } from "../context.js";
import { modalityOption } from "../options/modality-option.js";
import { addComputationOptions, addModelOption } from "../options/model-option.js";
import { integer } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";

const MAX_ROUNDS = 1000;
const MAX_TOKENS = 4096;
/** More concurrent requests than a service computes. */
const MAX_TOGETHER = 64;

const examples = `
Each round uses another generated medium (${sampleWords.image}, ${sampleWords.audio} or ${sampleWords.video}).
Decoding is greedy and stops after --new-tokens tokens. The reported times are medians over the rounds, except for
loading, which is measured once; it takes longer if the files are not in the operating system's cache.

Examples:
  epalm bench --model captioner
  epalm bench -m captioner --threads 2 --json | jq .tokensPerSecond`;

/** `epalm bench` measures the speed of a model on this machine. */
export function addBenchCommand(program: Command, context: CliContext): void {
  const command = program
    .command("bench")
    .summary("measure the speed of a model on this machine")
    .description("Measures how long loading, encoding, prefill and decoding of a model take on this machine.");
  addModelOption(command);
  addComputationOptions(command)
    .addOption(modalityOption("modality of the encoder to measure (default: image, or else that of the first encoder)"))
    .option("--rounds <n>", "number of measurements of each stage", integer(1, MAX_ROUNDS), 7)
    .option("--new-tokens <n>", "number of tokens to generate per text", integer(2, MAX_TOKENS), 32)
    .option("--together <n>", "number of concurrent requests in the last measurement", integer(1, MAX_TOGETHER), 8)
    .option("--json", "print one JSON object")
    .addHelpText("after", styleHeadings(examples))
    .action(async (flags: BenchFlags) => (await import("../actions/bench.js")).bench(flags, context));
}
