import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import { constantSource } from "../tensor/tensor.js";

/** Scaling of the rotation frequencies, from `rope_theta` and `rope_scaling` of a `config.json`. */
export type RotaryScaling =
  | { readonly kind: "none" }
  /** Divides positions by a factor (Chen et al. 2023). */
  | { readonly kind: "linear"; readonly factor: number }
  /** Divides low frequencies, keeps high ones and interpolates between them (Llama 3.1). */
  | {
      readonly kind: "llama3";
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalPositions: number;
    }
  /** Like `llama3`, by the number of turns over the original positions (YaRN, Peng et al. 2023, arXiv 2309.00071). */
  | {
      readonly kind: "yarn";
      readonly factor: number;
      readonly originalPositions: number;
      /** Pairs with at least this many turns keep their frequency. */
      readonly fastTurns: number;
      /** Pairs with at most this many turns are divided by the factor. */
      readonly slowTurns: number;
      /** Whether the bounds between these pairs are rounded to whole pairs. */
      readonly truncate: boolean;
      /** Factor of cosines and sines. */
      readonly magnitude: number;
    }
  /** Divides each frequency by a factor of its own (LongRoPE, Ding et al. 2024, arXiv 2402.13753). */
  | {
      readonly kind: "longrope";
      /** One for each pair. */
      readonly factors: readonly number[];
      /** Factor of cosines and sines. */
      readonly magnitude: number;
      /** The length up to which these factors hold. */
      readonly originalPositions: number;
    };

export interface RotaryOptions {
  /** Prefix of the names of the constants. Models with several sets of angles need several. Default: rotary. */
  readonly name?: string | undefined;
  /** The number of elements of a head that are rotated, an even one. */
  readonly size: number;
  /** Which elements form a pair: (x_i, x_{i + size/2}) or, interleaved, (x_2i, x_{2i + 1}) (GPT-J). Default: false. */
  readonly interleaved?: boolean | undefined;
  readonly theta: number;
  readonly scaling: RotaryScaling;
}

/** The angles by which the two elements of each pair are rotated, once for each token. */
export interface RotaryAngles {
  /** [N, size / 2] each. */
  readonly cosines: Value;
  readonly sines: Value;
  /** Default: false. */
  readonly interleaved?: boolean | undefined;
  /** The row of each token, int64 [B, T]; or [1], the row of the first token, if those of the others follow it. */
  readonly rows: Value;
}

/** Angle per position for each pair: theta^(-2 i / size), scaled. */
function frequencies({ size, theta, scaling }: RotaryOptions): number[] {
  // In float32, as transformers computes them: at late positions, the angles would differ otherwise.
  const power = (i: number) => Math.fround(theta ** Math.fround((2 * i) / size));
  const plain = Array.from({ length: size / 2 }, (_, i) => Math.fround(1 / power(i)));
  switch (scaling.kind) {
    case "none":
      return plain;
    case "linear":
      return plain.map((frequency) => frequency / scaling.factor);
    case "llama3":
      return plain.map((frequency) => {
        const turns = (scaling.originalPositions * frequency) / (2 * Math.PI);
        const { lowFrequencyFactor: low, highFrequencyFactor: high } = scaling;
        const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
        return frequency * (kept + (1 - kept) / scaling.factor);
      });
    case "yarn": {
      const { low, high } = yarnBounds(size, theta, scaling);
      return plain.map((frequency, i) => {
        const divided = Math.min(1, Math.max(0, (i - low) / (high - low)));
        return frequency * (1 - divided + divided / scaling.factor);
      });
    }
    case "longrope":
      return scaling.factors.map((factor, i) => 1 / (factor * power(i)));
    default:
      return scaling satisfies never;
  }
}

/** The pairs between which YaRN interpolates. */
function yarnBounds(size: number, theta: number, scaling: RotaryScaling & { kind: "yarn" }) {
  const pairOf = (turns: number) =>
    (size * Math.log(scaling.originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [first, last] = [pairOf(scaling.fastTurns), pairOf(scaling.slowTurns)];
  const low = Math.max(scaling.truncate ? Math.floor(first) : first, 0);
  const high = Math.min(scaling.truncate ? Math.ceil(last) : last, size - 1);
  return { low, high: low === high ? high + 0.001 : high };
}

/** Cosines and sines for positions [B, T] (int64). */
export function rotaryAngles(g: GraphBuilder, positions: Value, options: RotaryOptions): RotaryAngles {
  const rates = constantSource("float32", [options.size / 2], Float32Array.from(frequencies(options)));
  const { name = "rotary", scaling, interleaved = false } = options;
  const places = g.reshape(g.cast(positions, "float32"), [-1, 1]);
  // In float64: the float32 functions of GPUs may be wrong by 5e-4, and for large angles by any amount (Vulkan and WGSL
  // guarantee nothing there). Providers without float64 leave these few numbers to the CPU.
  const angles = g.cast(g.multiply(places, g.weight(`${name}.rates`, rates)), "float64");
  const scaled = (x: Value) => ("magnitude" in scaling ? g.multiply(x, g.number(scaling.magnitude)) : x);
  return {
    cosines: scaled(g.cast(g.cosine(angles), "float32")),
    sines: scaled(g.cast(g.sine(angles), "float32")),
    interleaved,
    rows: g.indexOfEach(positions),
  };
}

/**
 * Rotates each pair of the elements that have angles by its token's angle: x [B, heads, T, headSize] -> same shape (Su
 * et al. 2021, arXiv 2104.09864).
 */
export function rotate(g: GraphBuilder, x: Value, { cosines, sines, interleaved, rows }: RotaryAngles): Value {
  return g.rotaryEmbedding(x, rows, cosines, sines, interleaved);
}
