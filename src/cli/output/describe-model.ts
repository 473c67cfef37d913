import { dirname } from "node:path";
import type { AdapterSettings } from "../../adapter/adapter.js";
import type { Calibration } from "../../adapter/calibration.js";
import {
  type InjectionPlan,
  injectionPlan,
  type VisualTokenPlan,
  visualTokenPlan,
} from "../../adapter/injection-plan.js";
import { visualTokenCount } from "../../adapter/visual-connector.js";
import type { Manifest } from "../../index.js";
import { adapterModality, encodersOf } from "../../model/encoders.js";
import { adapterWidths, backbonesOf, loadAdapter, type ModelFolder } from "../../model/model-folder.js";

/** The contents of a model folder, as `epalm inspect --json` prints them. */
export interface ModelDescription {
  readonly kind: "model";
  readonly path: string;
  readonly manifest: Manifest;
  /** Size of all files that the manifest lists. */
  readonly bytes: number;
  /** Size of all encoders together. */
  readonly encoderBytes: number;
  readonly decoderBytes: number;
  readonly frozenParameters: number;
  readonly adapters: Readonly<Record<string, AdapterDescription>>;
}

export interface AdapterDescription {
  readonly trainedParameters: number;
  /** Share of this adapter in the sum of its own and the frozen parameters, from 0 to 1. */
  readonly trainedShare: number;
  readonly settings: AdapterSettings;
  /** One entry per layer of the decoder. */
  readonly plan: InjectionPlan | VisualTokenPlan;
  /** Number of visual tokens per medium; 0 with cls-injection, which has one perceptual token. */
  readonly visualTokens: number;
  /** What the adapter reports about its answers: absent without `epalm calibrate`. */
  readonly calibration?: { readonly familiarityMedia?: number; readonly confidence: readonly string[] };
}

/** Describes an open model folder. @throws invalid_adapter if an adapter does not fit the folder */
export async function describeModel(folder: ModelFolder): Promise<ModelDescription> {
  const { path, manifest } = folder;
  const { decoder } = manifest;
  const encoders = encodersOf(manifest);
  const frozenParameters = encoders.reduce((sum, { parameters }) => sum + parameters, decoder.parameters);
  const adapters: Record<string, AdapterDescription> = {};
  for (const [name, entry] of Object.entries(manifest.adapters)) {
    const { parameters } = entry;
    const { settings, calibration } = await loadAdapter(folder, name);
    const { patches } = adapterWidths(backbonesOf(manifest, adapterModality(manifest, entry)));
    const { layers } = decoder.shape;
    adapters[name] = {
      trainedParameters: parameters,
      trainedShare: parameters / (frozenParameters + parameters),
      settings,
      plan: settings.connector ? visualTokenPlan(settings, layers) : injectionPlan(settings, layers),
      visualTokens: settings.connector && patches ? visualTokenCount(settings.connector, patches) : 0,
      ...(calibration ? { calibration: describeCalibration(calibration) } : {}),
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

function describeCalibration({ familiarity, confidence = {} }: Calibration) {
  return {
    ...(familiarity ? { familiarityMedia: familiarity.scores.length } : {}),
    confidence: Object.keys(confidence),
  };
}

/** The size of a graph and its weights, in bytes. */
export function graphBytes(manifest: Manifest, { graph }: { readonly graph: string }): number {
  return bytesIn(manifest, `${dirname(graph)}/`);
}

function bytesIn({ files }: Manifest, prefix: string): number {
  return Object.entries(files)
    .filter(([name]) => name.startsWith(prefix))
    .reduce((sum, [, { bytes }]) => sum + bytes, 0);
}
