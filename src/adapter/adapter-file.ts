import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import { parseJson } from "../core/json.js";
import { firstIssue, issuesOf, safeParse } from "../core/schema.js";
import type { Checkpoint } from "../formats/checkpoint.js";
import { unsupportedTensor } from "../formats/invalid-checkpoint.js";
import { openCheckpoint } from "../formats/open-checkpoint.js";
import { wrapperPrefix } from "../formats/prefix.js";
import { writeSafetensors } from "../formats/safetensors.js";
import { toFloat32 } from "../tensor/float-conversion.js";
import { constantSource, type Tensor } from "../tensor/tensor.js";
import { type Adapter, type AdapterSettings, type ClsInjectionSettings, PROMPT } from "./adapter.js";
import {
  CALIBRATION_KEY,
  CALIBRATION_PREFIX,
  type Calibration,
  calibrationParts,
  readCalibration,
} from "./calibration.js";
import { visualConnectorSchema } from "./connector-schema.js";

/**
 * Adapter files. epalm writes safetensors with the settings of the method in the header, so that a file is
 * self-contained. Published files (`.pth` with `model`, `config`, `epoch`, …) can be read, and so can files that
 * contain only tensors, whose settings the user then supplies.
 */

/** Key of the settings in the `__metadata__` of a safetensors header. */
const SETTINGS_KEY = "epalm.adapter";

/** K is at most the depth of the encoder; the deepest public encoders have fewer than 100 blocks. */
const MAX_STATES = 1024;

/** Every prompt contains the soft tokens; the published checkpoints have 10. */
const MAX_PROMPT_LENGTH = 1024;

/** Two per connector, and those of the soft prompt. More could block the event loop of a service. */
const MAX_TENSORS = 2 * MAX_STATES + 16;

const settingsSchema = z.strictObject({
  injectedStates: z.int().min(1).max(MAX_STATES),
  startLayer: z.int().min(0),
  endLayer: z.int().min(1),
  perceptionSees: z.enum(["everything", "itself"]),
  sharedConnector: z.boolean(),
  promptLength: z.int().min(1).max(MAX_PROMPT_LENGTH),
  promptForm: z.enum(["table", "mlp"]),
});

const visualSettingsSchema = z.strictObject({
  connector: visualConnectorSchema,
  startLayer: z.int().min(0),
  endLayer: z.int().min(1),
  promptLength: z.int().min(0).max(MAX_PROMPT_LENGTH),
  promptForm: z.enum(["table", "mlp"]),
});

/** The keys of a published `config` that describe the adapter. All other keys concern training. */
const publishedConfig = z.object({
  injected_hidden_states: z.int().min(1).max(MAX_STATES).optional(),
  start_layer_idx: z.int().min(0).optional(),
  end_layer_idx: z.int().min(1).optional(),
  perception_sees: z.enum(["everything", "itself"]).optional(),
});

/** Settings that a file may not specify. Those that follow from the tensors are never needed. */
export type GivenSettings = Partial<
  Pick<ClsInjectionSettings, "injectedStates" | "startLayer" | "endLayer" | "perceptionSees">
>;

/**
 * Reads an adapter from epalm's safetensors, a published `.pth`, or a file of tensors only in either format. `given`
 * supplies the settings that the file does not specify; a conflict with the file is an error.
 *
 * @throws `invalid_adapter`, `invalid_checkpoint` or `not_found`, naming the file
 *
 * @example
 * ```ts
 * import { readAdapter } from "epalm";
 * const { settings, tensors } = await readAdapter("adapter.safetensors");
 * console.log(settings.connector?.kind ?? "cls-injection", tensors.size);
 * ```
 */
export async function readAdapter(path: string, given: GivenSettings = {}): Promise<Adapter> {
  const checkpoint = await openCheckpoint(path, { maxTensors: MAX_TENSORS });
  try {
    for (const unsupported of checkpoint.unsupported ?? []) throw unsupportedTensor(checkpoint.path, ...unsupported);
    const tensors = new Map<string, Tensor>();
    const prefix = wrapperPrefix(checkpoint.tensors.keys());
    for (const [name, source] of checkpoint.tensors) {
      tensors.set(name.slice(prefix.length), {
        type: "float32",
        shape: source.shape,
        data: toFloat32(source.type, source.read()),
      });
    }
    const calibration = takeCalibration(checkpoint, tensors);
    return { settings: settingsOf(checkpoint, tensors, given), tensors, ...(calibration ? { calibration } : {}) };
  } finally {
    checkpoint.close();
  }
}

/**
 * Writes an adapter as safetensors, completely or not at all.
 *
 * @example
 * ```ts
 * import { readAdapter, writeAdapter } from "epalm";
 * // Settings that a published .pth file does not contain are given.
 * writeAdapter("adapter.safetensors", await readAdapter("published.pth", { startLayer: 19, endLayer: 31 }));
 * ```
 */
export function writeAdapter(path: string, { settings, tensors, calibration }: Adapter): void {
  const measured = calibration ? calibrationParts(calibration) : undefined;
  const sources = [...tensors, ...(measured?.tensors ?? [])].map(
    ([name, { type, shape, data }]) => [name, constantSource(type, shape, data)] as const,
  );
  const header = { format: "pt", [SETTINGS_KEY]: JSON.stringify(settings) };
  writeSafetensors(path, sources, measured ? { ...header, [CALIBRATION_KEY]: measured.header } : header);
}

/** Takes the tensors of the calibration out of those of the file; undefined if it contains none. */
function takeCalibration({ metadata, path }: Checkpoint, tensors: Map<string, Tensor>): Calibration | undefined {
  const header = metadata[CALIBRATION_KEY];
  if (header === undefined) return undefined;
  const calibration = readCalibration(header, tensors, path);
  for (const name of Array.from(tensors.keys())) if (name.startsWith(CALIBRATION_PREFIX)) tensors.delete(name);
  return calibration;
}

function settingsOf(
  checkpoint: Checkpoint,
  tensors: ReadonlyMap<string, Tensor>,
  given: GivenSettings,
): AdapterSettings {
  const header = checkpoint.metadata[SETTINGS_KEY];
  const stated = header === undefined ? foreignSettings(checkpoint, tensors) : ownSettings(header, checkpoint.path);
  for (const [key, value] of Object.entries(given)) {
    const own = Object.entries(stated).find(([name]) => name === key)?.[1];
    if (value !== undefined && own !== undefined && own !== value) {
      throw invalid(checkpoint.path, `'${key}': the file specifies ${own}, the option ${value}`);
    }
  }
  const defined = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  if (stated.connector) return parseSettings({ ...stated, ...defined }, checkpoint.path);
  // The published implementation always does this, and its files do not record it.
  return parseSettings({ perceptionSees: "everything", ...stated, ...defined }, checkpoint.path);
}

function ownSettings(header: string, path: string): AdapterSettings {
  return parseSettings(parseJson(header, `${path}: the header's '${SETTINGS_KEY}'`, "invalid_adapter"), path);
}

function parseSettings(settings: unknown, path: string): AdapterSettings {
  const isVisual = typeof settings === "object" && settings !== null && "connector" in settings;
  const result = safeParse(isVisual ? visualSettingsSchema : settingsSchema, settings);
  if (result.success) return result.data;
  const [{ key, message } = { key: "", message: "is not valid" }] = issuesOf(result.error);
  if (key === "") throw invalid(path, `settings: ${message}`);
  const [outer = ""] = key.split(".");
  const isOpen = !Object.hasOwn(Object(settings), outer);
  throw invalid(path, `setting '${key}': ${isOpen ? "the file does not specify it, so it must be given" : message}`);
}

/** Settings that follow from the names and shapes of the tensors, and those in a published `config`. */
function foreignSettings(checkpoint: Checkpoint, tensors: ReadonlyMap<string, Tensor>): Partial<ClsInjectionSettings> {
  const connectors = Array.from(tensors.keys()).filter((name) => /^connector\.\d+\.weight$/.test(name)).length;
  const [promptLength = 0] = tensors.get(`${PROMPT}.0.weight`)?.shape ?? [];
  if (connectors === 0 || promptLength === 0) {
    throw invalid(checkpoint.path, `expected tensors connector.0.weight and ${PROMPT}.0.weight`);
  }
  const config = publishedSettings(checkpoint);
  const { injectedStates = connectors } = config;
  if (connectors > 1 && injectedStates !== connectors) {
    throw invalid(
      checkpoint.path,
      `config 'injected_hidden_states': expected ${connectors}, the number of connectors, got ${injectedStates}`,
    );
  }
  const sharedConnector = connectors === 1 && (config.injectedStates ?? 2) > 1;
  return {
    ...config,
    ...(connectors > 1 ? { injectedStates: connectors } : {}),
    sharedConnector,
    promptLength,
    promptForm: tensors.has(`${PROMPT}.1.weight`) ? "mlp" : "table",
  };
}

function publishedSettings({ root, path }: Checkpoint): GivenSettings {
  const config = root instanceof Map ? root.get("config") : undefined;
  if (!(config instanceof Map)) return {};
  const result = safeParse(publishedConfig, Object.fromEntries(config));
  if (!result.success) throw invalid(path, `config ${firstIssue(result.error)}`);
  const { injected_hidden_states, start_layer_idx, end_layer_idx, perception_sees } = result.data;
  const settings = {
    injectedStates: injected_hidden_states,
    startLayer: start_layer_idx,
    endLayer: end_layer_idx,
    perceptionSees: perception_sees,
  };
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}

function invalid(path: string, cause: string): EpalmError {
  return new EpalmError("invalid_adapter", `${path}: ${cause}`);
}
