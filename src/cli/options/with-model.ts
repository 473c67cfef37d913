import { type Command, Option } from "commander";
import { throwIfAborted } from "../../core/abort.js";
import { load, type Model } from "../../index.js";
import { BUNDLED_MODEL } from "../../model/bundled-model.js";
import type { CliContext } from "../context.js";
import { integer } from "./option-values.js";

/** More threads than any machine that is in use has cores. */
const MAX_THREADS = 1024;

export interface ModelFlags {
  readonly model: string;
  readonly threads?: number;
}

export function addModelOption(command: Command): Command {
  return command.addOption(
    new Option("-m, --model <dir>", "model folder, as `epalm build` makes it").default(
      BUNDLED_MODEL,
      "the model that comes with epalm",
    ),
  );
}

export function addThreadsOption(command: Command): Command {
  return command.option(
    "--threads <n>",
    "threads that compute (default: one per core)",
    integer(1, MAX_THREADS),
  );
}

/**
 * Loads a model, uses it, and closes it whatever happens, so that the process can end. Loading is not left alone when
 * the signal fires: ONNX Runtime ends the whole process if its thread is ended while it opens a session.
 */
export async function withModel<T>(
  { model: path, threads }: ModelFlags,
  { signal }: Pick<CliContext, "signal">,
  use: (model: Model) => Promise<T>,
): Promise<T> {
  const model = await load(path, { threads });
  try {
    throwIfAborted(signal);
    return await use(model);
  } finally {
    await model.close();
  }
}
