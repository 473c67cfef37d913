import { dirname } from "node:path";
import type { AdapterSettings } from "../../adapter/adapter.js";
import { type InjectionPlan, injectionPlan } from "../../adapter/injection-plan.js";
import type { Manifest } from "../../index.js";
import { encodersOf } from "../../model/encoders.js";
import { loadAdapter, type ModelFolder } from "../../model/model-folder.js";

/** What a model folder is, as data: what `epalm inspect --json` prints. */
export interface ModelDescription {
  readonly kind: "model";
  readonly path: string;
  readonly manifest: Manifest;
  /** Of all files that the manifest names. */
  readonly bytes: number;
  /** Of all encoders together. */
  readonly encoderBytes: number;
  readonly decoderBytes: number;
  readonly frozenParameters: number;
  readonly adapters: Readonly<Record<string, AdapterDescription>>;
}

export interface AdapterDescription {
  readonly trainedParameters: number;
  /** Of the frozen parameters and this adapter's, from 0 to 1. */
  readonly trainedShare: number;
  readonly settings: AdapterSettings;
  /** Per layer of the decoder. */
  readonly plan: InjectionPlan;
}

/** Describes an open folder; throws `invalid_adapter` for an adapter that does not fit it. */
export async function describeModel(folder: ModelFolder): Promise<ModelDescription> {
  const { path, manifest } = folder;
  const { decoder } = manifest;
  const encoders = encodersOf(manifest);
  const frozenParameters = encoders.reduce((sum, { parameters }) => sum + parameters, decoder.parameters);
  const adapters: Record<string, AdapterDescription> = {};
  for (const [name, { parameters }] of Object.entries(manifest.adapters)) {
    const { settings } = await loadAdapter(folder, name);
    adapters[name] = {
      trainedParameters: parameters,
      trainedShare: parameters / (frozenParameters + parameters),
      settings,
      plan: injectionPlan(settings, decoder.shape.layers),
    };
  }
  return {
    kind: "model",
    path,
    manifest,
    bytes: bytesIn(manifest, ""),
    encoderBytes: encoders.reduce((sum, encoder) => sum + graphBytes(manifest, encoder), 0),
    decoderBytes: graphBytes(manifest, decoder),
    frozenParameters,
    adapters,
  };
}

/** Of a graph and its weights. */
export function graphBytes(manifest: Manifest, { graph }: { readonly graph: string }): number {
  return bytesIn(manifest, `${dirname(graph)}/`);
}

function bytesIn({ files }: Manifest, prefix: string): number {
  return Object.entries(files)
    .filter(([name]) => name.startsWith(prefix))
    .reduce((sum, [, { bytes }]) => sum + bytes, 0);
}
