import { CholeskyDecomposition, Matrix, solve } from "ml-matrix";
import type { Adapter, AdapterSettings } from "../../adapter/adapter.js";
import { at } from "../../core/at.js";
import { floats, type Tensor } from "../../tensor/tensor.js";

/**
 * Of the mean variance, added to each: directions in which states hardly differ are mostly noise, which whitening would
 * make as large as all else.
 */
const RIDGE = 0.01;

/** States of one depth as `x = mean + L z`, with z of mean 0 and covariance 1. */
interface Coordinates {
  /** [dv] */
  readonly mean: Float64Array;
  /** L: [dv, dv], lower triangular. */
  readonly factor: Matrix;
  /** Its inverse. */
  readonly inverse: Matrix;
}

/**
 * The injected states in coordinates in which all directions vary alike. Where a few directions outshine the rest, as
 * grounds and numbers outshine names, a projection that is trained on states as they are learns the few first, and the
 * rest hardly; in these coordinates it does not. A linear map goes from one to the other, so that the trained adapter is
 * written for states as they are.
 */
export class Whitening {
  /** By connector: one for all injected states, or one for each, the shallowest first. */
  readonly #coordinates: readonly Coordinates[];
  readonly #settings: AdapterSettings;

  private constructor(coordinates: readonly Coordinates[], settings: AdapterSettings) {
    this.#coordinates = coordinates;
    this.#settings = settings;
  }

  /** @param examples states of media, each [depth, dv] */
  static measure(examples: readonly Float32Array[], width: number, settings: AdapterSettings): Whitening {
    const { injectedStates, sharedConnector } = settings;
    const injected = examples.map((states) => states.subarray(states.length - injectedStates * width));
    const state = (states: Float32Array, index: number) => states.subarray(index * width, (index + 1) * width);
    const indices = Array.from({ length: injectedStates }, (_, index) => index);
    const groups = sharedConnector
      ? [injected.flatMap((states) => indices.map((index) => state(states, index)))]
      : indices.map((index) => injected.map((states) => state(states, index)));
    return new Whitening(
      groups.map((rows) => coordinatesOf(rows, width)),
      settings,
    );
  }

  /** States [B, depth, dv] with those that are injected in the new coordinates. */
  whitened(states: Tensor): Tensor {
    const [rows = 0, depth = 0, width = 0] = states.shape;
    const { injectedStates } = this.#settings;
    const data = floats(states).slice();
    for (let index = 0; index < injectedStates; index++) {
      const { mean, inverse } = this.#coordinatesOf(index);
      const place = (row: number) => (row * depth + depth - injectedStates + index) * width;
      const centred = new Matrix(rows, width);
      for (let row = 0; row < rows; row++) {
        mean.forEach((value, i) => {
          centred.set(row, i, Number(data[place(row) + i]) - value);
        });
      }
      const product = centred.mmul(inverse.transpose());
      for (let row = 0; row < rows; row++) data.set(product.getRow(row), place(row));
    }
    return { ...states, data };
  }

  /** An adapter for states as they are -> the same for whitened ones: W L, b + W mean. */
  toWhitened(adapter: Adapter): Adapter {
    return this.#mapped(adapter, (weight, bias, { mean, factor }) => ({
      weight: weight.mmul(factor),
      bias: Matrix.add(bias, weight.mmul(Matrix.columnVector(mean))),
    }));
  }

  /** An adapter for whitened states -> the same for states as they are: W L^-1, b - W L^-1 mean. */
  fromWhitened(adapter: Adapter): Adapter {
    return this.#mapped(adapter, (weight, bias, { mean, inverse }) => {
      const own = weight.mmul(inverse);
      return { weight: own, bias: Matrix.sub(bias, own.mmul(Matrix.columnVector(mean))) };
    });
  }

  #mapped(
    { settings, tensors }: Adapter,
    map: (weight: Matrix, bias: Matrix, coordinates: Coordinates) => { weight: Matrix; bias: Matrix },
  ): Adapter {
    const mapped = new Map(tensors);
    for (const index of this.#coordinates.keys()) {
      const [weightName, biasName] = [`connector.${index}.weight`, `connector.${index}.bias`];
      const [weight, bias] = [tensors.get(weightName), tensors.get(biasName)];
      if (!weight || !bias) continue;
      const [rows = 0, columns = 0] = weight.shape;
      const given = Matrix.from1DArray(rows, columns, Array.from(floats(weight)));
      const result = map(given, Matrix.columnVector(Array.from(floats(bias))), this.#coordinatesOf(index));
      mapped.set(weightName, { ...weight, data: Float32Array.from(result.weight.to1DArray()) });
      mapped.set(biasName, { ...bias, data: Float32Array.from(result.bias.to1DArray()) });
    }
    return { settings, tensors: mapped };
  }

  #coordinatesOf(index: number): Coordinates {
    const { length } = this.#coordinates;
    return at(this.#coordinates, length === 1 ? 0 : index);
  }
}

function coordinatesOf(rows: readonly Float32Array[], width: number): Coordinates {
  const mean = new Float64Array(width);
  for (const row of rows) {
    row.forEach((value, i) => {
      mean[i] = Number(mean[i]) + value / rows.length;
    });
  }
  const centred = new Matrix(rows.map((row) => Array.from(row, (value, i) => value - Number(mean[i]))));
  const covariance = centred.transpose().mmul(centred).div(rows.length);
  // Above zero even if all states are the same up to rounding.
  const ridge = (RIDGE * covariance.trace()) / width + 1e-8;
  const factor = new CholeskyDecomposition(Matrix.add(covariance, Matrix.eye(width).mul(ridge))).lowerTriangularMatrix;
  return { mean, factor, inverse: solve(factor, Matrix.eye(width)) };
}
