import { mkdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Adapter } from "../adapter/adapter.js";
import { writeAdapter } from "../adapter/adapter-file.js";
import { EpalmError } from "../core/errors.js";
import { writeAtomically } from "../core/files/atomic-write.js";
import type { Modality } from "../core/modality.js";
import { elementCount } from "../tensor/tensor.js";
import { ADAPTER_NAME, MANIFEST_FILE, type Manifest, readManifest, type TaskName } from "./manifest.js";
import { backbonesOf, checkFits, fileSha256 } from "./model-folder.js";
import { withPatchGraph } from "./patch-graph.js";

/**
 * Installs an adapter in a model folder and replaces one of the same name. The manifest is replaced atomically as the
 * last step, so that the folder can be opened at any time except between the two renames.
 *
 * @param givenModality modality of the encoder whose states it takes. Default: that of the model's first encoder
 * @throws invalid_adapter if the adapter does not fit
 * @throws invalid_option for an invalid name or a modality that the model does not support
 *
 * @example
 * ```ts
 * import { installAdapter, readAdapter } from "epalm";
 * await installAdapter("my-model", "plants", await readAdapter("adapter.safetensors"), ["caption"]);
 * ```
 */
export async function installAdapter(
  folder: string,
  name: string,
  adapter: Adapter,
  tasks: readonly TaskName[],
  givenModality?: Modality,
): Promise<Manifest> {
  if (!ADAPTER_NAME.test(name)) {
    throw new EpalmError("invalid_option", `adapter '${name}': expected a name of letters, digits, '.', '_' and '-'`);
  }
  const before = readManifest(folder);
  const modality = givenModality ?? before.encoder.modality;
  const manifest = withPatchGraph(folder, before, modality, adapter.settings);
  checkFits(adapter, backbonesOf(manifest, modality), `adapter '${name}'`);
  const file = `adapters/${name}.safetensors`;
  const path = join(folder, file);
  mkdirSync(join(folder, "adapters"), { recursive: true });
  writeAdapter(`${path}.part`, adapter);
  const entry = { bytes: statSync(`${path}.part`).size, sha256: await fileSha256(`${path}.part`) };
  const parameters = Array.from(adapter.tensors.values(), ({ shape }) => elementCount(shape));
  const changed: Manifest = {
    ...manifest,
    adapters: {
      ...manifest.adapters,
      [name]: {
        file,
        modality,
        tasks: [...tasks],
        parameters: parameters.reduce((sum, count) => sum + count, 0),
      },
    },
    files: { ...manifest.files, [file]: entry },
  };
  renameSync(`${path}.part`, path);
  writeAtomically(join(folder, MANIFEST_FILE), `${JSON.stringify(changed, undefined, 2)}\n`);
  return changed;
}
