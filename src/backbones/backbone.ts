import type { Modality } from "../core/modality.js";
import type { Value } from "../graph/ir.js";
import type { HeadLayout, KeysValues, PastKeysValues } from "../layers/attention.js";
import type { RotaryAngles } from "../layers/rotary.js";

/** Published video encoders take 8, 16 or 96; each frame costs as much as a picture. */
export const MAX_FRAMES = 256;

/** Pixels per side. Public encoders take at most 1024; a value above this bound indicates a damaged file. */
export const MAX_IMAGE_SIZE = 4096;

/**
 * The interface of all architectures. A backbone combines a config and weights into functions that add parts of the
 * model to one graph; it does not know where perceptual states are injected between these parts. B batch, T tokens of
 * a step, E embedding width, d width, V rows of the embedding table.
 */

/**
 * How an encoder's tokens become states: the class token (`cls`) or the mean of the patches (`mean`), after each block
 * and the final norm; or the encoder's own attention pooling (`attention`), which gives a single state.
 */
export const poolings = ["cls", "mean", "attention"] as const;
export type Pooling = (typeof poolings)[number];

/** How to build an encoder if its checkpoint leaves a choice. */
export interface EncoderSettings {
  /** Frames per video, for video encoders. Default: that of the checkpoint. */
  readonly frames?: number | undefined;
  /**
   * Width and height of the images in pixels, for encoders whose positions can be computed for any size (DINOv2,
   * DINOv3). Default: 224 for a DINOv2 with positions for 518 pixels, otherwise that of the checkpoint.
   */
  readonly imageSize?: number | undefined;
  /** Default: the first one of the architecture. */
  readonly pooling?: Pooling | undefined;
}

/** An encoder: maps the features of a medium to one state per block, after the final norm, or to a single one. */
export interface EncoderBackbone {
  readonly architecture: string;
  readonly modality: Modality;
  /**
   * Shape of one example without the batch axis: [3, height, width] for images, [frames, mel bins] for audio,
   * [frames, 3, height, width] for videos.
   */
  readonly inputShape: readonly number[];
  /** Number of states: that of the blocks, or 1 with the pooling `attention`. */
  readonly depth: number;
  /** Width of a state, dv. */
  readonly width: number;
  /** The features of an audio encoder. Default: `kaldi`. */
  readonly features?: "kaldi" | "whisper" | undefined;
  /** input [B, ...inputShape] -> [B, depth, dv], first block first. */
  states(input: Value): Value;
}

/** Outputs of the blocks of a transformer over image patches. */
export interface PatchStates {
  /** The [CLS] state, or the encoder's pooled state, after each block and the final norm: [B, L, dv] */
  readonly classTokens: Value;
  /**
   * The patches after the last block and the final norm: [B, N, dv]. For clips [B, N * T, dv]: TimeSformer's position
   * by position, each frame by frame; VideoMAE's frame by frame.
   */
  patches(): Value;
}

/** An encoder that also returns the states of its patches. */
export interface PatchBackbone extends EncoderBackbone {
  /** input [B, 3, H, W], or [B, T, 3, H, W] for clips */
  through(input: Value): PatchStates;
}

/**
 * How the patch states of a medium are arranged: frame by frame, and in each frame row by row. An image has one frame;
 * audio has one frame of one row, whose columns are points in time.
 */
export interface PatchLayout {
  readonly frames: number;
  readonly rows: number;
  readonly columns: number;
}

/** The sizes of a decoder. */
export interface DecoderShape {
  readonly layers: number;
  /** d */
  readonly width: number;
  /** E: width of embeddings and soft tokens; differs from d only if the model projects them (OPT-350m). */
  readonly embeddingWidth: number;
  readonly attention: HeadLayout;
  /** V: rows of the embedding table, which is the number of logits per token. */
  readonly vocabulary: number;
  /** Maximum length of a text in tokens. */
  readonly positions: number;
}

/** The mask, cache and rotary angles of a layer's attention. */
export interface LayerContext {
  /** Added to the scores: [B, 1 or heads, R * T, past + T]; R query heads share a key/value head. */
  readonly bias: Value;
  readonly past?: PastKeysValues | undefined;
  readonly angles?: RotaryAngles | undefined;
}

export interface LayerOutput {
  /** [B, T, d] */
  readonly hidden: Value;
  /** Keys and values of this step's tokens only. */
  readonly keysValues: KeysValues;
}

/** A causal language model, as separate parts. */
export interface DecoderBackbone {
  readonly architecture: string;
  readonly shape: DecoderShape;
  /** ids [B, T] int64 -> [B, T, E] */
  embed(ids: Value): Value;
  /**
   * Embeddings [B, T, E] -> input of the first layer [B, T, d]. Positions [B, T] (int64) count text and visual tokens
   * from zero; a position embedding is added only where `hasPosition` [B, T] (bool) is true.
   */
  enter(embeddings: Value, positions: Value, hasPosition: Value): Value;
  /** Rotary angles of the tokens for each layer, undefined for layers that do not rotate; only if some layers do. */
  angles?(positions: Value): readonly (RotaryAngles | undefined)[];
  /**
   * Size of the sliding window of a layer: the number of tokens, itself included, to which a token attends. The
   * perceptual slot and soft tokens count like text. Undefined: no window. Default: no layer has one.
   */
  window?(layer: number): number | undefined;
  /**
   * How much the scores of each head fall per key of distance (ALiBi); for heads that share no keys. The position of a
   * key is the number of keys before it that the token attends to at that layer: the perceptual slot, visual tokens and
   * soft tokens count like text where they exist. Default: scores do not depend on distances.
   */
  readonly slopes?: readonly number[] | undefined;
  layer(index: number, hidden: Value, context: LayerContext): LayerOutput;
  /** Output of the last layer [N, d] -> logits [N, V] */
  head(hidden: Value): Value;
}
