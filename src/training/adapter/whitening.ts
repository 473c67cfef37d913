import { CholeskyDecomposition, Matrix, solve } from "ml-matrix";
import type { Adapter, ClsInjectionSettings } from "../../adapter/adapter.js";
import { at } from "../../core/at.js";
import { floats, type Tensor } from "../../tensor/tensor.js";

/**
 * Fraction of the mean variance that is added to each variance. Directions in which states hardly differ are mostly
 * noise, which whitening would otherwise amplify to the size of all other directions.
 */
const RIDGE = 0.01;

/** States of one depth as `x = mean + L z`, where z has mean 0 and the identity as covariance. */
interface Coordinates {
  /** [dv] */
  readonly mean: Float64Array;
  /** L: [dv, dv], lower triangular. */
  readonly factor: Matrix;
  /** L^-1: [dv, dv] */
  readonly inverse: Matrix;
}

/**
 * Whitening of the injected states: a linear map to coordinates in which all directions vary equally. If a few
 * directions dominate, such as backgrounds and numbers over names, a projection that is trained on unmodified states
 * learns these first and hardly learns the others. Because the map is linear, the trained adapter can be converted to
 * take unmodified states.
 */
export class Whitening {
  /** One entry per connector: one for all injected states, or one for each, shallowest first. */
  readonly #coordinates: readonly Coordinates[];
  readonly #settings: ClsInjectionSettings;

  private constructor(coordinates: readonly Coordinates[], settings: ClsInjectionSettings) {
    this.#coordinates = coordinates;
    this.#settings = settings;
  }

  /** @param examples states of media, each [depth, dv] */
  static measure(examples: readonly Float32Array[], width: number, settings: ClsInjectionSettings): Whitening {
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

  /** States [B, depth, dv] with the injected ones in whitened coordinates. */
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

  /** Converts an adapter for unmodified states to one for whitened states: W L, b + W mean. */
  toWhitened(adapter: Adapter): Adapter {
    return this.#mapped(adapter, (weight, bias, { mean, factor }) => ({
      weight: weight.mmul(factor),
      bias: Matrix.add(bias, weight.mmul(Matrix.columnVector(mean))),
    }));
  }

  /** Converts an adapter for whitened states to one for unmodified states: W L^-1, b - W L^-1 mean. */
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
  // Positive even if all states are equal up to rounding.
  const ridge = (RIDGE * covariance.trace()) / width + 1e-8;
  const factor = new CholeskyDecomposition(Matrix.add(covariance, Matrix.eye(width).mul(ridge))).lowerTriangularMatrix;
  return { mean, factor, inverse: solve(factor, Matrix.eye(width)) };
}
