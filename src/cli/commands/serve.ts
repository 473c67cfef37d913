import type { Command } from "commander";
import type { ServeFlags } from "../actions/serve.js";
import type { CliContext } from "../context.js";
import { integer, someText } from "../options/option-values.js";
import { addServedModelOptions } from "../options/served-model-options.js";
import { styleHeadings } from "../output/colours.js";

const notes = `
Options take precedence over environment variables, and those over the config file. docs/serving.md lists all settings.

Environment:
  EPALM_CONFIG    path of the config file
  EPALM_MODELS    model folders, [NAME=]DIR, separated by commas
  EPALM_HOST      address to listen on
  EPALM_PORT      port to listen on
  EPALM_THREADS   threads for each graph
  EPALM_API_KEYS  API keys, NAME=KEY, separated by commas
  EPALM_LOG       log level: trace, debug, info, warn, error or silent

Examples:
  epalm serve
  epalm serve --model captioner
  epalm serve --model coco=models/coco --model plants=models/plants --port 8000
  curl -F image=@cat.jpg http://localhost:8080/caption
  curl -F image=@cat.jpg -F question="What is it?" http://localhost:8080/vqa`;

/** `epalm serve` serves models over HTTP. */
export function addServeCommand(program: Command, context: CliContext): void {
  const command = program
    .command("serve")
    .summary("serve models over HTTP")
    .description("Serves model folders over HTTP until it is stopped with SIGTERM or Ctrl-C.")
    .option("--host <address>", "address to listen on (default: 127.0.0.1)", someText)
    .option("--port <n>", "port to listen on; 0 selects a free port (default: 8080)", integer(0, 65_535));
  addServedModelOptions(command);
  command
    .addHelpText("after", styleHeadings(notes))
    .action(async (flags: ServeFlags) => (await import("../actions/serve.js")).serve(flags, context));
}
