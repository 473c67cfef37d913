import { throwIfAborted } from "../../core/abort.js";
import { load, type Model } from "../../index.js";
import type { CliContext } from "../context.js";
import type { ModelFlags } from "../options/model-option.js";

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
