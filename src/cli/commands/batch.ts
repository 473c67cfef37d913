import { type Command, Option } from "commander";
import type { BatchFlags } from "../actions/batch.js";
import type { CliContext } from "../context.js";
import { someText } from "../options/option-values.js";
import { addServedModelOptions } from "../options/served-model-options.js";
import { styleHeadings } from "../output/colours.js";

const notes = `
A line of the input contains \`custom_id\`, \`method\`, \`url\` and \`body\`; a line of the output contains \`custom_id\` and
the response of the service to the same request, or an error. Lines are answered many at a time and are written in the
order in which they are finished. If a line fails, the others are still answered, and the exit code is 1. The same
command resumes an interrupted run: it skips lines that are answered and tries failed lines again.

Name the model as the requests do: NAME=DIR. Limits and the hosts of permitted URLs come from the config file, as for
\`epalm serve\`.

Examples:
  epalm batch requests.jsonl --output answers.jsonl --model captioner
  epalm batch requests.jsonl -o answers.jsonl --model gpt-4o-mini=captioner
  epalm batch requests.jsonl -o answers.jsonl && jq -r .response.body.choices[0].message.content answers.jsonl`;

/** `epalm batch` answers a file of requests in OpenAI's batch format. */
export function addBatchCommand(program: Command, context: CliContext): void {
  const command = program
    .command("batch")
    .summary("answer a file of requests in OpenAI's batch format")
    .description("Answers the requests in a file of OpenAI's batch format as the service would, without starting it.")
    .argument("<input>", "file with one request per line; - reads standard input", someText)
    .addOption(
      new Option("-o, --output <file>", "append the answers to a file; skip requests that it already answers")
        .argParser(someText)
        .makeOptionMandatory(),
    );
  addServedModelOptions(command);
  command
    .addHelpText("after", styleHeadings(notes))
    .action(async (input: string, flags: BatchFlags) =>
      (await import("../actions/batch.js")).batch(input, flags, context),
    );
}
