import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { RotaryScaling } from "../../layers/rotary.js";
import { count } from "../config.js";

/** Rotary positions in a `config.json`, with the defaults of `modeling_rope_utils.py` of transformers. */

const positive = z.number().positive();

/** Older versions of transformers write `rope_scaling`, newer ones `rope_parameters`. */
export const ropeSettings = z.object({
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  rope_theta: positive.nullish(),
  factor: positive.nullish(),
  low_freq_factor: positive.nullish(),
  high_freq_factor: positive.nullish(),
  original_max_position_embeddings: count.nullish(),
  partial_rotary_factor: z.literal(1).nullish(),
  attention_factor: positive.nullish(),
  beta_fast: positive.nullish(),
  beta_slow: positive.nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
  truncate: z.boolean().nullish(),
});

/** The settings of models that rotate only the first elements of each head. */
export const partialRopeSettings = ropeSettings.extend({ partial_rotary_factor: positive.max(1).nullish() });

/** The settings of Phi-3, which has a factor for each pair, for texts up to the original length and for longer ones. */
export const longRopeSettings = partialRopeSettings.extend({
  short_factor: z.array(positive).nullish(),
  long_factor: z.array(positive).nullish(),
});

export type RopeSettings = z.infer<typeof longRopeSettings>;

/** Keys beside the rotary settings that they depend on. */
export interface RopeContext {
  readonly max_position_embeddings: number;
  readonly original_max_position_embeddings?: number | null | undefined;
}

/**
 * The number of elements of a head that are rotated, from their share. @throws `unsupported_architecture` if it is not
 * an even number
 */
export function rotatedSize(architecture: string, headSize: number, share: number): number {
  return checkRotatedSize(architecture, "partial_rotary_factor", headSize, Math.floor(headSize * share));
}

/** @param key the key of the config that determines `size` @returns `size` @throws `unsupported_architecture` */
export function checkRotatedSize(architecture: string, key: string, headSize: number, size: number): number {
  if (size > 0 && size <= headSize && size % 2 === 0) return size;
  throw new EpalmError(
    "unsupported_architecture",
    `${architecture} config.json: '${key}': expected an even number of rotated elements, at most the head size of ` +
      `${headSize}, got ${size}`,
  );
}

/** @param architecture names the config in messages @throws `unsupported_architecture` */
export function rotaryScaling(
  architecture: string,
  rope: RopeSettings | null | undefined,
  context: RopeContext,
): RotaryScaling {
  const kind = rope?.rope_type ?? rope?.type ?? "default";
  const need = (value: number | null | undefined, key: string) => {
    if (value !== undefined && value !== null) return value;
    throw new EpalmError(
      "unsupported_architecture",
      `${architecture} config.json: rope_scaling '${kind}' needs '${key}'`,
    );
  };
  const originalPositions =
    context.original_max_position_embeddings ??
    rope?.original_max_position_embeddings ??
    context.max_position_embeddings;
  switch (kind) {
    case "default":
      return { kind: "none" };
    case "linear":
      return { kind: "linear", factor: need(rope?.factor, "factor") };
    case "llama3":
      return {
        kind: "llama3",
        factor: need(rope?.factor, "factor"),
        lowFrequencyFactor: need(rope?.low_freq_factor, "low_freq_factor"),
        highFrequencyFactor: need(rope?.high_freq_factor, "high_freq_factor"),
        originalPositions,
      };
    case "yarn":
      return yarn(rope ?? {}, originalPositions, context.max_position_embeddings / originalPositions);
    default:
      throw new EpalmError(
        "unsupported_architecture",
        `${architecture} config.json: rope_scaling: expected default, linear, llama3 or yarn, got '${kind}'`,
      );
  }
}

/** @param extension the factor if the config has none */
function yarn(rope: RopeSettings, originalPositions: number, extension: number): RotaryScaling {
  const factor = rope.factor ?? extension;
  const magnitude = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  const { mscale, mscale_all_dim } = rope;
  const usual = mscale && mscale_all_dim ? magnitude(mscale) / magnitude(mscale_all_dim) : magnitude(1);
  return {
    kind: "yarn",
    factor,
    originalPositions,
    fastTurns: rope.beta_fast ?? 32,
    slowTurns: rope.beta_slow ?? 1,
    truncate: rope.truncate ?? true,
    magnitude: rope.attention_factor ?? usual,
  };
}

/**
 * The scaling of Phi-3 with the factors for texts up to the original length. The factors for longer texts would change
 * the keys of all earlier tokens, which are cached.
 *
 * @param size the number of rotated elements of a head @throws `unsupported_architecture`
 */
export function phi3Scaling(rope: RopeSettings | null | undefined, context: RopeContext, size: number): RotaryScaling {
  const kind = rope?.rope_type ?? rope?.type ?? "default";
  const refuse = (message: string) => new EpalmError("unsupported_architecture", `Phi-3 config.json: ${message}`);
  if (kind === "default") return { kind: "none" };
  // The last two are the names of earlier configs.
  if (!["longrope", "su", "yarn"].includes(kind)) {
    throw refuse(`rope_scaling: expected default or longrope, got '${kind}'`);
  }
  const { short_factor: factors, attention_factor } = rope ?? {};
  if (factors?.length !== size / 2) {
    throw refuse(`'short_factor': expected ${size / 2} numbers, one for each pair, got ${factors?.length ?? "none"}`);
  }
  const originalPositions = context.original_max_position_embeddings ?? context.max_position_embeddings;
  const factor = rope?.factor ?? context.max_position_embeddings / originalPositions;
  const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalPositions));
  return { kind: "longrope", factors, magnitude: attention_factor ?? usual, originalPositions };
}
