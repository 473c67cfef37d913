import type { Command } from "commander";
import { sampleWords } from "../../media/sample-words.js";
import type { BenchFlags } from "../actions/bench.js";
import type { CliContext } from "../context.js";
import { modalityOption } from "../options/modality-option.js";
import { addModelOption, addThreadsOption } from "../options/model-option.js";
import { integer } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";

const MAX_ROUNDS = 1000;
const MAX_TOKENS = 4096;
/** More requests at once than a service works on. */
const MAX_TOGETHER = 64;

const examples = `
Media are generated (${sampleWords.image}, ${sampleWords.audio}, ${sampleWords.video}), another in each round; texts are written without beams and end after
--new-tokens. Times are medians of the rounds. Loading is done once: after other files were read, it takes longer.

Examples:
  epalm bench --model captioner
  epalm bench -m captioner --threads 2 --json | jq .tokensPerSecond`;

/** `epalm bench`: how fast a model is on this machine. */
export function addBenchCommand(program: Command, context: CliContext): void {
  const command = program
    .command("bench")
    .summary("measure how fast a model is on this machine")
    .description("Measures loading, encoder, prefill and decoding of a model folder on this machine.");
  addModelOption(command);
  addThreadsOption(command)
    .addOption(modalityOption("encoder that is measured (default: that of pictures, or else the first)"))
    .option("--rounds <n>", "how often each is measured", integer(1, MAX_ROUNDS), 7)
    .option("--new-tokens <n>", "tokens that each text gets", integer(2, MAX_TOKENS), 32)
    .option("--together <n>", "requests at once, in the last measurement", integer(1, MAX_TOGETHER), 8)
    .option("--json", "print one JSON object")
    .addHelpText("after", styleHeadings(examples))
    .action(async (flags: BenchFlags) => (await import("../actions/bench.js")).bench(flags, context));
}
