import type { Command } from "commander";
import { addComputationOptions } from "./model-option.js";
import { each, someText } from "./option-values.js";

/** Adds the options of commands that answer requests as the service does. */
export function addServedModelOptions(command: Command): Command {
  command
    .option(
      "-m, --model <[name=]dir>",
      "model folder; may be repeated, and requests use the first one by default (default: the model that comes with epalm)",
      each(someText),
    )
    .option("--config <file>", "config file in YAML or JSON")
    .option("--refuse-unfamiliar", "answer 422 to media that are unlike those of the adapter's training");
  return addComputationOptions(command);
}
