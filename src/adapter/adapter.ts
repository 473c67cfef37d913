import { EpalmError } from "../core/errors.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import { formatShape, type Shape, sameShape, type Tensor } from "../tensor/tensor.js";
import type { InjectionSettings } from "./injection-plan.js";

/** The trained part of a model: a few named tensors and the settings of the method that they belong to. */
export interface Adapter {
  readonly settings: AdapterSettings;
  /** Float32 tensors by their published names (`connector.N.weight`, `prompt_module.prefix_embedding.…`). */
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** How an adapter projects and injects encoder states (eP-ALM, section 3). */
export interface AdapterSettings extends InjectionSettings {
  /** True if all K states share one projection; false if each state has its own. */
  readonly sharedConnector: boolean;
  /** P: number of soft tokens before the text. */
  readonly promptLength: number;
  /** Soft tokens are stored as a table, or computed as table -> linear -> tanh -> linear. */
  readonly promptForm: "table" | "mlp";
}

/** Widths of the encoder and the decoder that an adapter connects. */
export interface AdapterWidths {
  /** dv */
  readonly encoder: number;
  /** d */
  readonly decoder: number;
  /** E: width of the soft tokens. */
  readonly embedding: number;
}

export const PROMPT = "prompt_module.prefix_embedding";

/** Names and shapes of an adapter's tensors. The weight of a linear is [out, in], as published. */
export function adapterShapes(settings: AdapterSettings, widths: AdapterWidths): ReadonlyMap<string, Shape> {
  const shapes = new Map<string, Shape>();
  const linear = (name: string, inputs: number, outputs: number) => {
    shapes.set(`${name}.weight`, [outputs, inputs]);
    shapes.set(`${name}.bias`, [outputs]);
  };
  const connectors = settings.sharedConnector ? 1 : settings.injectedStates;
  for (let index = 0; index < connectors; index++) linear(`connector.${index}`, widths.encoder, widths.decoder);
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

/** An adapter's tensors as values of a graph: weights in an adapter that is used, inputs in one that is trained. */
export type AdapterValues = (name: string) => Value;

function project(g: GraphBuilder, x: Value, values: AdapterValues, name: string): Value {
  const product = g.matmul(x, g.transpose(values(`${name}.weight`), [1, 0]));
  return g.add(product, values(`${name}.bias`));
}

/**
 * Projects the last K of all [CLS] states [B, depth, dv] of an encoder: [B, K, d], shallowest state first. Unless
 * they share one projection, `connector.0` belongs to the shallowest state.
 */
export function perception(
  g: GraphBuilder,
  states: Value,
  values: AdapterValues,
  { injectedStates, sharedConnector }: AdapterSettings,
): Value {
  const last = g.slice(states, 1, -injectedStates);
  if (sharedConnector) return project(g, last, values, "connector.0");
  const parts = g.split(last, new Array(injectedStates).fill(1), 1);
  return g.concat(
    parts.map((state, index) => project(g, state, values, `connector.${index}`)),
    1,
  );
}

/** The soft tokens [P, E]. */
export function softPrompt(g: GraphBuilder, values: AdapterValues, { promptForm }: AdapterSettings): Value {
  const table = values(`${PROMPT}.0.weight`);
  if (promptForm === "table") return table;
  return project(g, g.tanh(project(g, table, values, `${PROMPT}.1`)), values, `${PROMPT}.3`);
}
