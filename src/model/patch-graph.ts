import { join, posix } from "node:path";
import type { AdapterSettings } from "../adapter/adapter.js";
import { type PatchForm, usualPatches, withPatchStates } from "../backbones/encoders/patch-states.js";
import { EpalmError } from "../core/errors.js";
import { writeAtomically } from "../core/files/atomic-write.js";
import type { Modality } from "../core/modality.js";
import { readOnnx } from "../graph/onnx-reader.js";
import { writeExtension } from "../graph/onnx-writer.js";
import { type Encoders, encoderOf } from "./encoders.js";
import { type EncoderManifest, MANIFEST_FILE, type Manifest, readManifest } from "./manifest.js";
import type { ModelFolder } from "./model-folder.js";

const PATCH_GRAPH = "patches.onnx";

/** The parts of a manifest that change when an encoder gets a graph of patch states. */
type WithFiles = Encoders & Pick<Manifest, "files"> & Partial<Pick<Manifest, "decoder">>;

/**
 * The manifest with a graph of patch states for the encoder of a modality, which is written beside the encoder's own
 * graph if an adapter with these settings needs it and the folder has none.
 *
 * @param form what the states are, if the folder has no graph yet
 *
 * @throws invalid_adapter if the encoder has no patch states (attention pooling)
 */
export function withPatchGraph<M extends WithFiles>(
  folder: string,
  manifest: M,
  modality: Modality,
  { connector }: AdapterSettings,
  form: PatchForm = usualPatches,
): M {
  const encoder: EncoderManifest = encoderOf(manifest, modality);
  if (!connector || encoder.patches) return manifest;
  // Nothing is written into a folder whose decoder cannot take visual tokens, which `checkFits` reports.
  if (manifest.decoder && !manifest.decoder.visualTokens) return manifest;
  const original = join(folder, encoder.graph);
  const found = withPatchStates(readOnnx(original), modality, form);
  if (!found) {
    throw new EpalmError(
      "invalid_adapter",
      `connector ${connector.kind}: takes patch states, but the encoder has no final norm for them: it pools them by ` +
        "attention (build it with the pooling mean), or is a fine-tuned VideoMAE (use one from pre-training) or a " +
        "classifier of EVA-02 (use an EVA-CLIP)",
    );
  }
  const graph = posix.join(posix.dirname(encoder.graph), PATCH_GRAPH);
  const { bytes, sha256 } = writeExtension(found.graph, original, join(folder, graph));
  const extended = { ...encoder, patches: { graph, ...found.layout, ...(form.normed ? {} : { normed: false }) } };
  return {
    ...manifest,
    encoder: manifest.encoder === encoder ? extended : manifest.encoder,
    ...(manifest.otherEncoders
      ? { otherEncoders: manifest.otherEncoders.map((other) => (other === encoder ? extended : other)) }
      : {}),
    files: { ...manifest.files, [graph]: { bytes, sha256 } },
  };
}

/** Adds a graph of patch states to a model folder, if an adapter with these settings needs it; see `withPatchGraph`. */
export function addPatchGraph({ path }: ModelFolder, modality: Modality, settings: AdapterSettings): ModelFolder {
  const before = readManifest(path);
  const manifest = withPatchGraph(path, before, modality, settings);
  if (manifest !== before) writeAtomically(join(path, MANIFEST_FILE), `${JSON.stringify(manifest, undefined, 2)}\n`);
  return { path, manifest };
}

/** The files of an encoder of which every run depends, without the graph of patch states. */
export function ownFiles({ files }: Pick<Manifest, "files">, { graph, patches }: EncoderManifest): string[] {
  const folder = posix.dirname(graph);
  return Object.keys(files).filter((name) => posix.dirname(name) === folder && name !== patches?.graph);
}
