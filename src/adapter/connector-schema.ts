import { z } from "zod";
import { activationNames } from "../layers/activation.js";

/** Patches along a side; the largest public encoders have 64. */
const MAX_SIDE = 1024;

/** Tokens that one medium may add to a prompt. */
const MAX_QUERIES = 1024;

/** A transformer of a connector is much smaller than a decoder. */
const MAX_WIDTH = 8192;
const MAX_LAYERS = 64;

const side = z.int().min(1).max(MAX_SIDE);

const states = z.union([
  z.literal("all"),
  z.strictObject({ pool: side }),
  z.strictObject({ pixelShuffle: z.int().min(2).max(MAX_SIDE) }),
]);

const prefix = z.strictObject({
  kind: z.literal("prefix"),
  states: states.default("all"),
  projection: z.enum(["linear", "mlp"]).default("linear"),
  activation: z.enum(activationNames).optional(),
  ending: z.boolean().optional(),
  norm: z.boolean().default(false),
});

/** Defaults: the mapper of MAPL. */
const queries = z.strictObject({
  kind: z.literal("queries"),
  queries: z.int().min(1).max(MAX_QUERIES).default(32),
  width: z.int().min(1).max(MAX_WIDTH).default(256),
  layers: z.int().min(1).max(MAX_LAYERS).default(4),
  heads: z.int().min(1).default(8),
  depths: z.int().min(1).max(MAX_LAYERS).default(1),
  dropout: z.number().min(0).lt(1).optional(),
  norm: z.boolean().default(false),
});

/** Connectors that compute visual tokens, in adapter files and configs. */
export const visualConnectorSchema = z
  .discriminatedUnion("kind", [prefix, queries])
  .refine((connector) => connector.kind !== "queries" || connector.width % connector.heads === 0, {
    path: ["width"],
    error: "expected a multiple of 'heads'",
  });
