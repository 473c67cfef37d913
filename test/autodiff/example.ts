import { gradient, gradientName } from "../../src/autodiff/gradient.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Dim, Graph, Value } from "../../src/graph/ir.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession, type Session } from "../../src/runtime/session.js";
import { elementCount, type Tensor } from "../../src/tensor/tensor.js";

/** A small graph whose gradients are compared with finite differences of its outputs. */
export interface Example {
  readonly what: string;
  readonly inputs: Readonly<Record<string, ExampleInput>>;
  /** Values of the named sizes. */
  readonly sizes?: Readonly<Record<string, number>>;
  build(g: GraphBuilder, inputs: Readonly<Record<string, Value>>): readonly Value[];
}

export type ExampleInput =
  | { readonly kind: "trained" | "frozen"; readonly dims: readonly Dim[]; readonly fill: Fill }
  | { readonly kind: "int64" | "bool"; readonly dims: readonly Dim[]; readonly data: readonly number[] };

/** The element at an index of a tensor. */
export type Fill = (index: number) => number;

/** Inputs, and inputs plus or minus a step, are multiples of this value, so that steps are exact in float32. */
const GRAIN = 1 / 64;

/** Large enough for the seven digits of float32, and small enough that the fifth derivative is negligible. */
const STEP = 2 * GRAIN;

/** Elements spread over a range without short cycles: fractional parts of multiples of the golden ratio. */
export function within(from: number, to: number): Fill {
  return (index) => {
    const share = ((index + 1) * 0.6180339887) % 1;
    return Math.round((from + (to - from) * share) / GRAIN) * GRAIN;
  };
}

/** Elements of a range and their negatives; none is near zero. */
export function awayFromZero(from: number, to: number): Fill {
  const positive = within(from, to);
  return (index) => (index % 2 === 0 ? 1 : -1) * positive(index);
}

type Floats = Readonly<Record<string, Float32Array>>;

/** The graph; with `withLoss`, its outputs are multiplied by the inputs `pull.I` and their sum is the output `loss`. */
function exampleGraph({ inputs, build }: Example, withLoss: boolean): Graph {
  const g = new GraphBuilder("example");
  const values = Object.fromEntries(
    Object.entries(inputs).map(([name, input]) => {
      const type = input.kind === "int64" || input.kind === "bool" ? input.kind : "float32";
      return [name, g.input(name, type, input.dims)];
    }),
  );
  const outputs = build(g, values);
  outputs.forEach((output, index) => {
    g.output(`y.${index}`, output);
  });
  if (withLoss) {
    const sums = outputs.map((output, index) => {
      const weighted = g.multiply(output, g.input(`pull.${index}`, "float32", output.shape));
      const axes = output.shape.map((_, axis) => axis);
      return axes.length === 0 ? weighted : g.sum(weighted, axes, false);
    });
    g.output(
      "loss",
      sums.slice(1).reduce((a, b) => g.add(a, b), sums[0] as Value),
    );
  }
  return g.finish();
}

/** An example whose gradients can be computed by the rules and by finite differences. */
export class RunningExample {
  readonly forward: Graph;
  readonly trained: readonly string[];
  readonly #example: Example;
  readonly #session: Session;
  readonly #start: Floats;
  readonly #others: Readonly<Record<string, Tensor>>;
  #pulls: readonly Tensor[] = [];

  private constructor(example: Example, forward: Graph, session: Session) {
    this.#example = example;
    this.forward = forward;
    this.#session = session;
    const entries = Object.entries(example.inputs);
    this.trained = entries.filter(([, input]) => input.kind === "trained").map(([name]) => name);
    this.#others = Object.fromEntries(entries.map(([name, input]) => [name, this.#tensorOf(input)]));
    this.#start = Object.fromEntries(this.trained.map((name) => [name, this.#others[name]?.data as Float32Array]));
  }

  static async open(example: Example): Promise<RunningExample> {
    const forward = exampleGraph(example, false);
    const running = new RunningExample(example, forward, await openSession(encodeOnnx(forward), { threads: 1 }));
    const outputs = await running.#outputs({});
    const fill = awayFromZero(0.5, 1.5);
    running.#pulls = outputs.map(({ shape }) => ({
      type: "float32",
      shape,
      data: Float32Array.from({ length: elementCount(shape) }, (_, i) => fill(i)),
    }));
    return running;
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  /** The graph with gradients of `names`. */
  gradientGraph(names: readonly string[]): Graph {
    return gradient(exampleGraph(this.#example, true), "loss", names);
  }

  /** Gradients computed by the rules. */
  async gradients(names: readonly string[]): Promise<ReadonlyMap<string, Tensor>> {
    const session = await openSession(encodeOnnx(this.gradientGraph(names)), { threads: 1 });
    try {
      const pulls = Object.fromEntries(this.#pulls.map((pull, index) => [`pull.${index}`, pull]));
      const results = await session.run({ ...this.#others, ...pulls }, names.map(gradientName));
      return new Map(names.map((name) => [name, results[gradientName(name)] as Tensor]));
    } finally {
      await session.close();
    }
  }

  /** (8 (f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12h for each element of an input. */
  async differences(name: string): Promise<Float64Array> {
    const start = this.#start[name] ?? new Float32Array();
    const slopes = new Float64Array(start.length);
    for (let place = 0; place < start.length; place++) {
      const at = (steps: number) => this.#loss({ [name]: start.with(place, (start[place] as number) + steps * STEP) });
      const [near, far] = [(await at(1)) - (await at(-1)), (await at(2)) - (await at(-2))];
      slopes[place] = (8 * near - far) / (12 * STEP);
    }
    return slopes;
  }

  /** The weighted sum of all outputs, added in float64. */
  async #loss(changed: Floats): Promise<number> {
    const outputs = await this.#outputs(changed);
    return outputs.reduce((sum, { data }, index) => {
      const pull = this.#pulls[index]?.data as Float32Array;
      return sum + (data as Float32Array).reduce((part, value, i) => part + value * (pull[i] as number), 0);
    }, 0);
  }

  async #outputs(changed: Floats): Promise<Tensor[]> {
    const feeds = Object.entries(this.#others).map(([name, tensor]) => {
      const data = changed[name];
      return [name, data ? { ...tensor, data } : tensor];
    });
    const names = this.forward.outputs.map((output) => output.name);
    const results = await this.#session.run(Object.fromEntries(feeds), names);
    return names.map((name) => results[name] as Tensor);
  }

  #tensorOf(input: ExampleInput): Tensor {
    const shape = input.dims.map((dim) => (typeof dim === "number" ? dim : (this.#example.sizes?.[dim] ?? Number.NaN)));
    const length = elementCount(shape);
    switch (input.kind) {
      case "int64":
        return { type: "int64", shape, data: BigInt64Array.from(input.data, BigInt) };
      case "bool":
        return { type: "bool", shape, data: Uint8Array.from(input.data) };
      default:
        return {
          type: "float32",
          shape,
          data: Float32Array.from({ length }, (_, index) => input.fill(index)),
        };
    }
  }
}
