import { type Command, Option } from "commander";
import { MAX_THREADS } from "../../core/environment.js";
import { BUNDLED_MODEL } from "../../model/bundled-model.js";
import { addDeviceOptions, type DeviceFlags } from "./device-options.js";
import { integer } from "./option-values.js";

export interface ModelFlags extends DeviceFlags {
  readonly model: string;
  readonly threads?: number;
}

export function addModelOption(command: Command): Command {
  return command.addOption(
    new Option("-m, --model <dir>", "model folder created by `epalm build`").default(
      BUNDLED_MODEL,
      "the model that comes with epalm",
    ),
  );
}

export function addThreadsOption(command: Command): Command {
  return command.option(
    "--threads <n>",
    "threads for computation (default: EPALM_THREADS, or else one per core)",
    integer(1, MAX_THREADS),
  );
}

/** Adds the options of commands that run a model folder. */
export function addComputationOptions(command: Command): Command {
  return addDeviceOptions(addThreadsOption(command));
}
