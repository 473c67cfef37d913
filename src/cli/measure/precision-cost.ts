import { encoderInputs } from "../../backbones/encoders/encoder-graph.js";
import { EpalmError } from "../../core/errors.js";
import type { MediumInput } from "../../index.js";
import type { EncoderManifest } from "../../model/manifest.js";
import { elementCount, formatShape, sameShape, type Tensor } from "../../tensor/tensor.js";

/** The outputs of one model for texts and media. */
export interface Measurements {
  /** Per text: the natural log-probability of each token but the first. */
  readonly logProbs: readonly (readonly number[])[];
  /** Per medium: [CLS] states [depth, dv]. */
  readonly states: readonly Tensor[];
}

/** The difference between two models' scores of the same text or texts. */
export interface TextCost {
  readonly tokens: number;
  /** Natural log-probability of all tokens. */
  readonly logProb: number;
  readonly againstLogProb: number;
  /** The largest absolute difference between a token's log-probabilities; 0 without tokens. */
  readonly largestDifference: number;
}

/** Cosine similarities between the two models' [CLS] states of a medium, over the blocks of the encoder. */
export interface StatesCost {
  readonly minCosine: number;
  readonly meanCosine: number;
}

/** Compares two models' log-probabilities of each text. @throws invalid_option if their tokens differ */
export function textCosts(model: Measurements, against: Measurements): TextCost[] {
  return model.logProbs.map((own, index) => {
    const other = against.logProbs[index] ?? [];
    if (own.length !== other.length) {
      throw new EpalmError(
        "invalid_option",
        `text ${index + 1}: expected the same number of tokens in both models, got ${own.length} and ${other.length}`,
      );
    }
    return {
      tokens: own.length,
      logProb: sum(own),
      againstLogProb: sum(other),
      largestDifference: Math.max(0, ...own.map((value, token) => Math.abs(value - (other[token] ?? 0)))),
    };
  });
}

/** The costs of all texts together. */
export function totalCost(costs: readonly TextCost[]): TextCost {
  return {
    tokens: sum(costs.map(({ tokens }) => tokens)),
    logProb: sum(costs.map(({ logProb }) => logProb)),
    againstLogProb: sum(costs.map(({ againstLogProb }) => againstLogProb)),
    largestDifference: Math.max(0, ...costs.map(({ largestDifference }) => largestDifference)),
  };
}

/** Compares two encoders' states of each medium. @throws invalid_option if their shapes differ */
export function statesCosts(model: Measurements, against: Measurements): StatesCost[] {
  return model.states.map((own, index) => {
    const other = against.states[index];
    if (!other || !sameShape(own.shape, other.shape)) {
      const shapes = `${formatShape(own.shape)} and ${formatShape(other?.shape ?? [])}`;
      throw new EpalmError("invalid_option", `expected [CLS] states of the same shape in both models, got ${shapes}`);
    }
    const cosines = blockCosines(own, other);
    return { minCosine: Math.min(...cosines), meanCosine: sum(cosines) / cosines.length };
  });
}

function blockCosines(a: Tensor, b: Tensor): number[] {
  const [depth = 0, width = 0] = a.shape;
  return Array.from({ length: depth }, (_, block) => {
    const row = ({ data }: Tensor) => Array.from(data.subarray(block * width, (block + 1) * width), Number);
    return cosine(row(a), row(b));
  });
}

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) => sum(x.map((value, index) => value * (y[index] ?? 0)));
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** A deterministic medium of waves, whose wavelengths differ between channels and frames. */
export function waves({ modality, inputShape }: Pick<EncoderManifest, "modality" | "inputShape">): MediumInput {
  const [height = 1, width = 1] = inputShape.slice(-2);
  const data = Float32Array.from({ length: elementCount(inputShape) }, (_, index) => {
    const [x, y] = [(index % width) / width, (Math.floor(index / width) % height) / height];
    const plane = Math.floor(index / (width * height)) + 1;
    return Math.sin(2 * Math.PI * plane * x) + Math.cos(2 * Math.PI * (plane + 1) * y);
  });
  return encoderInputs[modality] === "pixels" ? { pixels: data } : { features: data };
}
