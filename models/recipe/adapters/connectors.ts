import type { AdapterSettings, VisualTokenSettings } from "../../../src/index.js";
import { DECODER_LAYERS, slotLayers } from "../language-model/language-model.js";

/** The connectors that are compared on the scenes. Further adapters of the bundled model can be trained with them. */

export interface ConnectorRecipe {
  readonly name: string;
  readonly settings: AdapterSettings;
  /** Whether the states are whitened, which only a linear connector permits. */
  readonly whiten: boolean;
  readonly learningRate: number;
}

/**
 * One injected state, because the encoders' heads were trained on the last state: it alone contains what the questions
 * ask.
 */
export const adapterSettings = {
  injectedStates: 1,
  ...slotLayers,
  perceptionSees: "itself",
  sharedConnector: true,
  promptLength: 1,
  promptForm: "table",
} as const satisfies AdapterSettings;

const everywhere = { startLayer: 0, endLayer: DECODER_LAYERS, promptLength: 1, promptForm: "table" } as const;
const prefix = { kind: "prefix", states: "all", projection: "linear", norm: true } as const;
/** MAPL's mapper, in which the depth of DePALM's can be chosen. */
const queries = { kind: "queries", queries: 32, width: 256, layers: 4, heads: 8, depths: 1, norm: true } as const;

/** A connector with visual tokens. */
function visual(name: string, settings: Partial<VisualTokenSettings>): ConnectorRecipe {
  return { name, settings: { ...everywhere, connector: prefix, ...settings }, whiten: false, learningRate: 1e-3 };
}

export const connectorRecipes: readonly ConnectorRecipe[] = [
  { name: "cls-injection", settings: adapterSettings, whiten: true, learningRate: 2e-4 },
  visual("prefix-all", {}),
  visual("prefix-all-mlp", { connector: { ...prefix, projection: "mlp" } }),
  visual("prefix-pool", { connector: { ...prefix, states: { pool: 3 } } }),
  visual("prefix-pool-mlp", { connector: { ...prefix, states: { pool: 3 }, projection: "mlp" } }),
  // At the layers that the language model was trained to read labels at.
  visual("prefix-pool-inner", { ...slotLayers, connector: { ...prefix, states: { pool: 3 }, projection: "mlp" } }),
  // The encoder has 7 x 7 patches, so that the only block is the whole image.
  visual("prefix-shuffle", { connector: { ...prefix, states: { pixelShuffle: 7 } } }),
  visual("queries", { connector: queries }),
  visual("queries-four-depths", { connector: { ...queries, depths: 4 }, promptLength: 16 }),
];
