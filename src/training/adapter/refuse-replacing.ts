import { existsSync } from "node:fs";
import { join } from "node:path";
import { EpalmError } from "../../core/errors.js";
import { fileSha256, type ModelFolder } from "../../model/model-folder.js";
import type { TrainingConfig } from "./config.js";
import { ADAPTER_FILE, CHECKPOINT_FILE } from "./train-adapter.js";

/**
 * Rejects a run that would replace an installed adapter, unless the config allows it or the installed adapter is the
 * run's own result, which the same config installs again.
 *
 * @throws invalid_option
 */
export async function refuseReplacing(config: TrainingConfig, { path, manifest }: ModelFolder): Promise<void> {
  const { name } = config.adapter;
  const installed = manifest.adapters[name];
  if (!config.install || config.replace || installed === undefined) return;
  const own = join(config.output, ADAPTER_FILE);
  const isOfThisRun = existsSync(own) && existsSync(join(config.output, CHECKPOINT_FILE));
  if (isOfThisRun && manifest.files[installed.file]?.sha256 === (await fileSha256(own))) return;
  throw new EpalmError(
    "invalid_option",
    `adapter.name: ${path} already has an adapter '${name}': choose another name, or set 'replace: true'`,
  );
}
