import { EpalmError } from "../../core/errors.js";
import type { MediumInput } from "../../encoding/media-encoder.js";
import { adapterModality, encoderOf } from "../../model/encoders.js";
import { installAdapter } from "../../model/install-adapter.js";
import { readManifest } from "../../model/manifest.js";
import { loadAdapter } from "../../model/model-folder.js";
import { type LoadOptions, load, type Model } from "../../pipeline.js";
import { floats } from "../../tensor/tensor.js";
import { evaluateModel } from "../adapter/evaluate-model.js";
import type { Example } from "../data/example.js";
import { MIN_EXAMPLES } from "./fit-familiarity.js";
import {
  type CalibrationReport,
  type MeasuredFamiliarity,
  measureConfidence,
  measureFamiliarity,
  type StateSource,
  spread,
} from "./measure-calibration.js";

/** Options of `calibrateModel`. */
export interface CalibrateOptions {
  /** Default: all adapters for the modalities of the examples. */
  readonly adapters?: readonly string[] | undefined;
  /** Examples of each task on which confidence is measured, evenly spaced. Default: all. */
  readonly confidenceExamples?: number | undefined;
  /** Threads per graph. Default: as for `load`. */
  readonly threads?: number | undefined;
  /** See `LoadOptions.device`. */
  readonly device?: LoadOptions["device"];
  readonly signal?: AbortSignal | undefined;
  /** Called after each adapter. */
  readonly onAdapter?: ((name: string, report: CalibrationReport) => void) | undefined;
}

/** One of this many media belongs to the validation set, whose scores are the distribution of the familiarity. */
const PARTS = 3;

/**
 * Adds to adapters of a model folder what the familiarity and the confidence of their answers are computed from, and
 * installs them again. Nothing is trained, and no answer changes.
 *
 * @param examples of the domain of the adapters; best not those of their training, for which confidence is too high
 * @returns a report for each adapter
 * @throws invalid_data without examples for an adapter; not_found; aborted; errors of reading media
 *
 * @example
 * ```ts
 * import { calibrateModel, readEvaluationData } from "epalm";
 * const { examples } = await readEvaluationData({ path: "plants/validation.jsonl" });
 * const reports = await calibrateModel("my-model", examples, { adapters: ["plants"] });
 * console.log(reports.plants?.confidence.answers?.after);
 * ```
 */
export async function calibrateModel(
  folder: string,
  examples: readonly Example[],
  options: CalibrateOptions = {},
): Promise<Readonly<Record<string, CalibrationReport>>> {
  const manifest = readManifest(folder);
  const model = await load(folder, { threads: options.threads, device: options.device });
  try {
    const modalities = new Set(examples.map(({ media }) => media.modality));
    const fitting = Object.entries(manifest.adapters).filter(([, one]) =>
      modalities.has(adapterModality(manifest, one)),
    );
    const names = options.adapters ?? fitting.map(([name]) => name);
    if (names.length === 0) {
      const given = Array.from(modalities).join(" and ") || "no examples";
      throw new EpalmError("invalid_data", `${folder}: has no adapter for the examples, which are ${given}`);
    }
    const reports: Record<string, CalibrationReport> = {};
    const known: Known = { familiarity: new Map(), media: new Map() };
    for (const name of names) {
      const report = await calibrateOne(model, folder, name, examples, known, options);
      reports[name] = report;
      options.onAdapter?.(name, report);
    }
    return reports;
  } finally {
    await model.close();
  }
}

/** What several adapters share, by modality, and encoded media by path. */
interface Known {
  readonly familiarity: Map<string, Promise<MeasuredFamiliarity>>;
  readonly media: Map<string, MediumInput>;
}

async function calibrateOne(
  model: Model,
  path: string,
  name: string,
  all: readonly Example[],
  known: Known,
  { signal, confidenceExamples = all.length }: CalibrateOptions,
): Promise<CalibrationReport> {
  const manifest = readManifest(path);
  const adapter = await loadAdapter({ path, manifest }, name);
  const entry = manifest.adapters[name];
  const modality = entry ? adapterModality(manifest, entry) : manifest.encoder.modality;
  const tasks = entry?.tasks ?? [];
  const examples = all.filter(({ media }) => media.modality === modality);
  if (examples.length === 0) {
    throw new EpalmError("invalid_data", `adapter '${name}': expected examples with ${modality}, got none`);
  }
  const familiarity =
    known.familiarity.get(modality) ??
    measureFamiliarity(
      encoderOf(manifest, modality),
      splitMedia(examples.map(({ media }) => media.path)),
      encodedBy(model, modality, known, signal),
    );
  known.familiarity.set(modality, familiarity);
  const { summary, measuredOn, notes } = await familiarity;
  const encoded = (path: string) => known.media.get(path);
  // Captions can only be judged if the subject is known.
  const asked = tasks.flatMap((task) =>
    spread(
      examples.filter((one) => one.kind === task && (one.kind === "vqa" || one.subject !== undefined)),
      confidenceExamples,
    ),
  );
  const { predictions } = await evaluateModel(model, asked, { adapter: name, encoded, signal });
  const { maps, confidence, notes: others } = await measureConfidence(model, name, predictions, { encoded, signal });
  const before = adapter.calibration;
  const calibration = {
    familiarity: summary ?? before?.familiarity,
    confidence: { ...before?.confidence, ...maps },
  };
  await installAdapter(path, name, { ...adapter, calibration }, tasks, modality);
  return { familiarity: measuredOn, confidence, nearDuplicates: [], notes: [...notes, ...others] };
}

function splitMedia(paths: readonly string[]) {
  const media = Array.from(new Set(paths));
  if (media.length < PARTS * MIN_EXAMPLES) return { training: media, validation: [] };
  return {
    training: media.filter((_, index) => index % PARTS > 0),
    validation: media.filter((_, index) => index % PARTS === 0),
  };
}

function encodedBy(
  model: Model,
  modality: Example["media"]["modality"],
  { media }: Known,
  signal: AbortSignal | undefined,
): StateSource {
  return {
    ofMedium: async (path) => {
      const medium = await model.encode(path, { modality, signal });
      // Patch states of many media would take too much memory.
      if (!medium.patches) media.set(path, medium);
      return floats(medium.states);
    },
    ofInput: async (input) => {
      const medium = modality === "audio" ? { features: input } : { pixels: input };
      return floats((await model.encode(medium, { modality, signal })).states);
    },
  };
}
