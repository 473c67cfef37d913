import type { Modality } from "../core/modality.js";
import type { Value } from "../graph/ir.js";
import type { HeadLayout, KeysValues, PastKeysValues } from "../layers/attention.js";
import type { RotaryAngles } from "../layers/rotary.js";

/** Published video encoders take 8, 16 or 96; each frame costs as much as a picture. */
export const MAX_FRAMES = 256;

/**
 * What every architecture offers. A backbone is a config and weights, turned into functions that add
 * parts of the model to one graph; where perception enters between the parts is not its business.
 * B batch, T tokens of a step, E embedding width, d width, V rows of the embedding table.
 */

/** How an encoder is to be built, where its checkpoint leaves a choice. */
export interface EncoderSettings {
  /** Of a video encoder. */
  readonly frames?: number | undefined;
}

/** A perception encoder: media features in, one normed [CLS] state per block out. */
export interface EncoderBackbone {
  readonly architecture: string;
  readonly modality: Modality;
  /**
   * Sizes of one example's input, without the batch: [3, height, width] for pictures, [frames, mel bins] for sounds,
   * [frames, 3, height, width] for videos.
   */
  readonly inputShape: readonly number[];
  readonly depth: number;
  /** Width of a state, dv. */
  readonly width: number;
  /** input [B, ...inputShape] -> [B, depth, dv], first block first. */
  states(input: Value): Value;
}

/** The sizes of a decoder. */
export interface DecoderShape {
  readonly layers: number;
  /** d */
  readonly width: number;
  /** E: the width of embeddings and soft tokens; differs from d only where the model projects (OPT-350m). */
  readonly embeddingWidth: number;
  readonly attention: HeadLayout;
  /** V: rows of the embedding table, and logits per token. */
  readonly vocabulary: number;
  /** The longest text, in tokens. */
  readonly positions: number;
}

/** Which tokens a layer attends over, and how. */
export interface LayerContext {
  /** Added to the scores: [B, 1, R * T, past + T]; R query heads share a key head. */
  readonly bias: Value;
  readonly past?: PastKeysValues | undefined;
  readonly angles?: RotaryAngles | undefined;
}

export interface LayerOutput {
  /** [B, T, d] */
  readonly hidden: Value;
  /** Of this step's tokens only. */
  readonly keysValues: KeysValues;
}

/** A causal language model, in parts. */
export interface DecoderBackbone {
  readonly architecture: string;
  readonly shape: DecoderShape;
  /** ids [B, T] int64 -> [B, T, E] */
  embed(ids: Value): Value;
  /**
   * Embeddings [B, T, E] -> what enters the first layer [B, T, d]. Positions [B, T] (int64) count text
   * tokens from zero; only where `isText` [B, T] (bool) holds is a position embedding added.
   */
  enter(embeddings: Value, positions: Value, isText: Value): Value;
  /** Rotary angles of the tokens, for the architectures that have them. */
  angles?(positions: Value): RotaryAngles;
  layer(index: number, hidden: Value, context: LayerContext): LayerOutput;
  /** What leaves the last layer [N, d] -> logits [N, V] */
  head(hidden: Value): Value;
}
