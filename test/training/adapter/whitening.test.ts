import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Adapter, type ClsInjectionSettings, clsSettings } from "../../../src/adapter/adapter.js";
import { randomStreams } from "../../../src/core/random.js";
import type { Tensor } from "../../../src/tensor/tensor.js";
import { initialAdapter } from "../../../src/training/adapter/initial-adapter.js";
import { Whitening } from "../../../src/training/adapter/whitening.js";

const [EXAMPLES, DEPTH, WIDTH] = [500, 3, 6];
const widths = { encoder: WIDTH, decoder: 5, embedding: 4 };
const settings = (sharedConnector: boolean): ClsInjectionSettings => ({
  injectedStates: 2,
  startLayer: 0,
  endLayer: 2,
  perceptionSees: "itself",
  sharedConnector,
  promptLength: 1,
  promptForm: "table",
});

/** States with directions of very different variances, not parallel to the axes, and a mean far from zero. */
function examples(): Float32Array[] {
  const [random = Math.random] = randomStreams(5, 1);
  return Array.from({ length: EXAMPLES }, () => {
    const loud = 40 * (random() - 0.5);
    return Float32Array.from(
      { length: DEPTH * WIDTH },
      (_, i) => 7 + loud * (i % 2 === 0 ? 1 : -0.5) + 4 * (random() - 0.5) + (i % 5),
    );
  });
}

const batchOf = (rows: readonly Float32Array[]): Tensor => ({
  type: "float32",
  shape: [rows.length, DEPTH, WIDTH],
  data: Float32Array.from(rows.flatMap((row) => Array.from(row))),
});

describe("whitened states", () => {
  it("have mean 0 and a covariance near 1 in the directions that vary", () => {
    const { data } = Whitening.measure(examples(), WIDTH, settings(false)).whitened(batchOf(examples()));
    const values = (at: number) => Array.from({ length: EXAMPLES }, (_, row) => Number(data[row * DEPTH * WIDTH + at]));
    for (let a = WIDTH; a < DEPTH * WIDTH; a++) {
      const own = values(a);
      assert.ok(Math.abs(own.reduce((sum, value) => sum + value, 0) / EXAMPLES) < 1e-4);
      for (let b = a; b < Math.ceil((a + 1) / WIDTH) * WIDTH; b++) {
        const other = values(b);
        const covariance = own.reduce((sum, value, i) => sum + value * (other[i] as number), 0) / EXAMPLES;
        // The original variances are 1.3 and 130; because of the ridge, the small ones stay below 1.
        const isRight = a === b ? covariance > 0.4 && covariance < 1.01 : Math.abs(covariance) < 0.2;
        assert.ok(isRight, `${a}, ${b}: ${covariance}`);
      }
    }
  });

  it("leave states that are not injected unchanged", () => {
    const states = batchOf(examples());
    const { data } = Whitening.measure(examples(), WIDTH, settings(false)).whitened(states);
    assert.deepEqual(data.slice(0, WIDTH), states.data.slice(0, WIDTH));
  });

  for (const shared of [false, true]) {
    it(`give the same result with a converted adapter as unmodified states${shared ? ", with one connector for all" : ""}`, () => {
      const whitening = Whitening.measure(examples(), WIDTH, settings(shared));
      const [random = Math.random] = randomStreams(8, 1);
      const adapter = { ...initialAdapter(settings(shared), widths, random), settings: settings(shared) };
      const states = batchOf(examples().slice(0, 4));
      const expected = projected(adapter, states);
      near(projected(whitening.toWhitened(adapter), whitening.whitened(states)), expected);
      near(projected(whitening.fromWhitened(whitening.toWhitened(adapter)), states), expected);
      const trained = projected(adapter, whitening.whitened(states));
      near(projected(whitening.fromWhitened(adapter), states), trained);
    });
  }

  it("are finite if all states are equal", () => {
    const same = examples().map(() => new Float32Array(DEPTH * WIDTH).fill(3));
    const { data } = Whitening.measure(same, WIDTH, settings(false)).whitened(batchOf(same.slice(0, 2)));
    assert.ok(data.slice(WIDTH, DEPTH * WIDTH).every((value) => Math.abs(Number(value)) < 1e-6));
  });
});

/** W x + b for each injected state. */
function projected({ settings, tensors }: Adapter, states: Tensor): number[] {
  const { sharedConnector } = clsSettings(settings, "test");
  const rows = states.shape[0] ?? 0;
  return Array.from({ length: rows * 2 * widths.decoder }, (_, at) => {
    const [output, rest] = [at % widths.decoder, Math.floor(at / widths.decoder)];
    const [index, row] = [rest % 2, Math.floor(rest / 2)];
    const name = `connector.${sharedConnector ? 0 : index}`;
    const weight = tensors.get(`${name}.weight`)?.data as Float32Array;
    const bias = tensors.get(`${name}.bias`)?.data as Float32Array;
    let sum = bias[output] as number;
    for (let i = 0; i < WIDTH; i++) {
      const x = Number(states.data[(row * DEPTH + DEPTH - 2 + index) * WIDTH + i]);
      sum += (weight[output * WIDTH + i] as number) * x;
    }
    return sum;
  });
}

function near(found: readonly number[], expected: readonly number[]): void {
  found.forEach((value, i) => {
    assert.ok(Math.abs(value - (expected[i] ?? 0)) < 1e-3, `${i}: ${value}, ${expected[i]}`);
  });
}
