import { existsSync } from "node:fs";
import { join } from "node:path";
import { EpalmError } from "../../core/errors.js";
import { MANIFEST_FILE } from "../../model/manifest.js";
import { openModelFolder } from "../../model/model-folder.js";
import { describeCheckpoint } from "../output/describe-checkpoint.js";
import { describeModel } from "../output/describe-model.js";
import { formatCheckpoint } from "../output/format-checkpoint.js";
import { formatModel } from "../output/format-model.js";
import { print } from "../output/output.js";

export interface InspectFlags {
  readonly json?: true;
  readonly verify?: true;
}

/** `epalm inspect` shows the contents of a model folder or a checkpoint. */
export async function inspect(path: string, { json, verify }: InspectFlags): Promise<void> {
  if (existsSync(join(path, MANIFEST_FILE))) {
    const model = await describeModel(await openModelFolder(path, { checksums: verify === true }));
    const verdict = verify ? "\n\nall files match the manifest" : "";
    print(json ? JSON.stringify({ ...model, verified: verify === true }) : formatModel(model) + verdict);
    return;
  }
  if (verify) {
    throw new EpalmError("invalid_option", `--verify: ${path} has no ${MANIFEST_FILE} with checksums`);
  }
  const checkpoint = await describeCheckpoint(path);
  print(json ? JSON.stringify(checkpoint) : formatCheckpoint(checkpoint));
}
