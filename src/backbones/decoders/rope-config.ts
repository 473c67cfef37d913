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
  short_factor: z.array(positive).nullish(),
});

/** The settings of models that rotate only the first elements of each head. */
export const partialRopeSettings = ropeSettings.extend({ partial_rotary_factor: positive.max(1).nullish() });

export type RopeSettings = z.infer<typeof partialRopeSettings>;

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

/**
 * The scaling of a config. Models that change their frequencies for long texts get those for shorter texts, since a
 * change would affect the keys of all earlier tokens, which are cached: `dynamic` is `default` up to
 * `max_position_embeddings`, and `longrope` has its short factors up to the original length (`positionLimit`).
 *
 * @param architecture names the config in messages
 * @param size the number of rotated elements of a head
 * @throws `unsupported_architecture`
 */
export function rotaryScaling(
  architecture: string,
  rope: RopeSettings | null | undefined,
  context: RopeContext,
  size: number,
): RotaryScaling {
  const kind = kindOf(rope);
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
  const extension = context.max_position_embeddings / originalPositions;
  switch (kind) {
    case "default":
    case "dynamic":
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
      return yarn(rope ?? {}, originalPositions, extension);
    case "longrope": {
      const factors = rope?.short_factor;
      if (factors?.length === size / 2) return longRope(rope ?? {}, factors, originalPositions, extension);
      throw new EpalmError(
        "unsupported_architecture",
        `${architecture} config.json: 'short_factor': expected ${size / 2} numbers, one for each pair, ` +
          `got ${factors?.length ?? "none"}`,
      );
    }
    default:
      throw new EpalmError(
        "unsupported_architecture",
        `${architecture} config.json: rope_scaling: expected default, linear, dynamic, llama3, yarn or longrope, ` +
          `got '${kind}'`,
      );
  }
}

/** As `rotaryScaling`, for Phi-3, which only has LongRoPE. @throws `unsupported_architecture` */
export function phi3Scaling(rope: RopeSettings | null | undefined, context: RopeContext, size: number): RotaryScaling {
  const kind = kindOf(rope);
  // The last two are the names of earlier configs for LongRoPE.
  if (["longrope", "su", "yarn"].includes(kind)) {
    return rotaryScaling("Phi-3", { ...rope, rope_type: "longrope" }, context, size);
  }
  if (kind === "default") return { kind: "none" };
  throw new EpalmError(
    "unsupported_architecture",
    `Phi-3 config.json: rope_scaling: expected default or longrope, got '${kind}'`,
  );
}

/** The most positions for which all scalings of a model hold. */
export function positionLimit({ max_position_embeddings: limit }: RopeContext, scalings: RotaryScaling[]): number {
  const limits = scalings.map((scaling) => (scaling.kind === "longrope" ? scaling.originalPositions : limit));
  return Math.min(limit, ...limits);
}

function kindOf(rope: RopeSettings | null | undefined): string {
  return rope?.rope_type ?? rope?.type ?? "default";
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

/** @param factors those for texts up to the original length @param extension the factor if the config has none */
function longRope(
  rope: RopeSettings,
  factors: readonly number[],
  originalPositions: number,
  extension: number,
): RotaryScaling {
  const factor = rope.factor ?? extension;
  const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalPositions));
  return { kind: "longrope", factors, magnitude: rope.attention_factor ?? usual, originalPositions };
}
