import { EpalmError } from "../core/errors.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import { formatShape, type Shape, sameShape, type Tensor } from "../tensor/tensor.js";
import { type AdapterValues, project } from "./adapter-values.js";
import type { AdapterWidths } from "./adapter-widths.js";
import type { Calibration } from "./calibration.js";
import type { InjectionSettings, LayerRange } from "./injection-plan.js";
import { connectorShapes, type VisualConnector } from "./visual-connector.js";

/** The trained part of a model: a few named tensors and the settings of the method that they belong to. */
export interface Adapter {
  readonly settings: AdapterSettings;
  /** Float32 tensors by their published names (`connector.N.weight`, `prompt_module.prefix_embedding.…`). */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** For the familiarity and the confidence of answers; answers have neither without it. */
  readonly calibration?: Calibration | undefined;
}

/** How an adapter projects encoder states and where they enter the decoder. */
export type AdapterSettings = ClsInjectionSettings | VisualTokenSettings;

/** The soft tokens of an adapter. */
export interface SoftPromptSettings {
  /** P: number of soft tokens. */
  readonly promptLength: number;
  /** Soft tokens are stored as a table, or computed as table -> linear -> tanh -> linear. */
  readonly promptForm: "table" | "mlp";
}

/** `cls-injection`: [CLS] states overwrite one perceptual token at some layers (eP-ALM, section 3). */
export interface ClsInjectionSettings extends InjectionSettings, SoftPromptSettings {
  readonly connector?: undefined;
  /** True if all K states share one projection; false if each state has its own. */
  readonly sharedConnector: boolean;
}

/** `prefix` and `queries`: patch states become visual tokens of the sequence. */
export interface VisualTokenSettings extends LayerRange, SoftPromptSettings {
  readonly connector: VisualConnector;
}

/** An adapter that injects [CLS] states. */
export interface ClsAdapter extends Adapter {
  readonly settings: ClsInjectionSettings;
}

/** The settings of an adapter that must inject [CLS] states. @throws `invalid_adapter` for any other connector */
export function clsSettings(settings: AdapterSettings, where: string): ClsInjectionSettings {
  if (!settings.connector) return settings;
  throw new EpalmError(
    "invalid_adapter",
    `${where}: expected the connector cls-injection, got ${settings.connector.kind}`,
  );
}

export const PROMPT = "prompt_module.prefix_embedding";

/**
 * Names and shapes of an adapter's tensors. The weight of a linear is [out, in], as published.
 *
 * @throws `invalid_adapter` if the connector takes patch states and the encoder returns none that it can take
 */
export function adapterShapes(settings: AdapterSettings, widths: AdapterWidths): ReadonlyMap<string, Shape> {
  const shapes = new Map<string, Shape>();
  const linear = (name: string, inputs: number, outputs: number) => {
    shapes.set(`${name}.weight`, [outputs, inputs]);
    shapes.set(`${name}.bias`, [outputs]);
  };
  if (settings.connector) {
    for (const [name, shape] of connectorShapes(settings.connector, widths)) shapes.set(name, shape);
  } else {
    const connectors = settings.sharedConnector ? 1 : settings.injectedStates;
    for (let index = 0; index < connectors; index++) linear(`connector.${index}`, widths.encoder, widths.decoder);
  }
  if (settings.promptLength === 0) return shapes;
  shapes.set(`${PROMPT}.0.weight`, [settings.promptLength, widths.embedding]);
  if (settings.promptForm === "mlp") {
    for (const part of [1, 3]) linear(`${PROMPT}.${part}`, widths.embedding, widths.embedding);
  }
  return shapes;
}

/** @throws `invalid_adapter` if a tensor is missing, unexpected, or has a shape that does not match the widths */
export function checkAdapter({ settings, tensors }: Adapter, widths: AdapterWidths, where: string): void {
  const expected = adapterShapes(settings, widths);
  for (const [name, shape] of expected) {
    const tensor = tensors.get(name);
    if (!tensor) throw new EpalmError("invalid_adapter", `${where}: tensor ${name} is missing`);
    if (!sameShape(tensor.shape, shape)) {
      throw new EpalmError(
        "invalid_adapter",
        `${where}: tensor ${name}: expected ${formatShape(shape)}, got ${formatShape(tensor.shape)}`,
      );
    }
  }
  for (const name of tensors.keys()) {
    if (!expected.has(name)) throw new EpalmError("invalid_adapter", `${where}: unexpected tensor ${name}`);
  }
}

/**
 * Projects the last K of all [CLS] states [B, depth, dv] of an encoder: [B, K, d], shallowest state first. Unless
 * they share one projection, `connector.0` belongs to the shallowest state.
 */
export function perception(
  g: GraphBuilder,
  states: Value,
  values: AdapterValues,
  { injectedStates, sharedConnector }: ClsInjectionSettings,
): Value {
  const last = g.slice(states, 1, -injectedStates);
  if (sharedConnector) return project(g, last, values, "connector.0");
  const parts = g.split(last, new Array(injectedStates).fill(1), 1);
  return g.concat(
    parts.map((state, index) => project(g, state, values, `connector.${index}`)),
    1,
  );
}

/** The soft tokens [P, E]; undefined if there are none. */
export function softPrompt(
  g: GraphBuilder,
  values: AdapterValues,
  { promptForm, promptLength }: SoftPromptSettings,
): Value | undefined {
  if (promptLength === 0) return undefined;
  const table = values(`${PROMPT}.0.weight`);
  if (promptForm === "table") return table;
  return project(g, g.tanh(project(g, table, values, `${PROMPT}.1`)), values, `${PROMPT}.3`);
}
