import { throwIfAborted } from "../../core/abort.js";
import type { Model } from "../../index.js";
import type { CliContext } from "../context.js";
import { chosenDevices } from "../options/device-options.js";
import type { ModelFlags } from "../options/model-option.js";
import { note } from "../output/output.js";

/**
 * Loads a model, calls `use` with it and always closes it, so that the process can end. Loading is not interrupted when
 * the signal fires, because ONNX Runtime ends the whole process if its thread is terminated while it opens a session.
 */
export async function withModel<T>(
  { model: path, threads, ...flags }: ModelFlags,
  { signal, openModel }: Pick<CliContext, "signal" | "openModel">,
  use: (model: Model) => Promise<T>,
): Promise<T> {
  const { model, close } = await openModel(path, { threads, device: chosenDevices(flags), lazy: true });
  for (const { note: text } of Object.values(model.devices)) if (text !== undefined) note(text);
  try {
    throwIfAborted(signal);
    return await use(model);
  } finally {
    await close();
  }
}
