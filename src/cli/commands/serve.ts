import type { Command } from "commander";
import type { ServeFlags } from "../actions/serve.js";
import type { CliContext } from "../context.js";
import { addThreadsOption } from "../options/model-option.js";
import { each, integer, someText } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";

const notes = `
Settings come from flags, then environment variables, then the config file; docs/serving.md lists them all.

Environment:
  EPALM_CONFIG    the config file
  EPALM_MODELS    model folders, [NAME=]DIR, separated by commas
  EPALM_HOST      address to listen on
  EPALM_PORT      port to listen on
  EPALM_THREADS   threads that each graph computes with
  EPALM_API_KEYS  bearer keys, NAME=KEY, separated by commas
  EPALM_LOG       trace, debug, info, warn, error or silent

Examples:
  epalm serve
  epalm serve --model captioner
  epalm serve --model coco=models/coco --model plants=models/plants --port 8000
  curl -F image=@cat.jpg http://localhost:8080/caption
  curl -F image=@cat.jpg -F question="What is it?" http://localhost:8080/vqa`;

/** `epalm serve`: captions and answers over HTTP. */
export function addServeCommand(program: Command, context: CliContext): void {
  const command = program
    .command("serve")
    .summary("answer over HTTP")
    .description("Serves model folders over HTTP until it is told to end (SIGTERM, Ctrl-C).")
    .option(
      "-m, --model <[name=]dir>",
      "model folder; may be repeated, the first is the default (default: the model that comes with epalm)",
      each(someText),
    )
    .option("--config <file>", "settings, as YAML or JSON")
    .option("--host <address>", "address to listen on (default: 127.0.0.1)", someText)
    .option("--port <n>", "port to listen on; 0: any that is free (default: 8080)", integer(0, 65_535));
  addThreadsOption(command);
  command
    .addHelpText("after", styleHeadings(notes))
    .action(async (flags: ServeFlags) => (await import("../actions/serve.js")).serve(flags, context));
}
