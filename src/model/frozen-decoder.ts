import { join } from "node:path";
import type { DecoderBackbone } from "../backbones/backbone.js";
import { type JoinedBiases, type JoinedLinears, ParameterReader, type WeightSource } from "../backbones/parameters.js";
import { decoderArchitecture } from "../backbones/registry.js";
import { EpalmError, unexpected } from "../core/errors.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Graph } from "../graph/ir.js";
import { readOnnx } from "../graph/onnx-reader.js";
import { dequantizedBlocks } from "../graph/quantized-weights.js";
import { float32Source } from "../tensor/float-conversion.js";
import { transposed } from "../tensor/source-recipes.js";
import { elementCount, floats, formatShape, type Shape, sameShape, type TensorSource } from "../tensor/tensor.js";
import type { ModelFolder } from "./model-folder.js";

/**
 * The decoder of a model folder as a backbone for a training graph. Its weights are read from the folder's decoder
 * graph, under the names used when it was built. Those in fp16 and int8 become float32, so that an adapter is trained
 * with the same values that it will run with.
 *
 * @throws invalid_option if the decoder is int4; invalid_model
 */
export function frozenDecoder(folder: ModelFolder, g: GraphBuilder): DecoderBackbone {
  refuseInt4(folder);
  const { path, manifest } = folder;
  const { decoder } = manifest;
  const graph = readOnnx(join(path, decoder.graph));
  const parameters = new FolderParameterReader(g, new GraphWeights(graph, path));
  return decoderArchitecture(decoder.architecture, path).build(decoder.config, parameters);
}

/** @throws invalid_option if the decoder is int4, whose weights the training graph cannot contain */
export function refuseInt4({ path, manifest }: ModelFolder): void {
  const { precision } = manifest.decoder;
  if (!precision.startsWith("int4")) return;
  throw unexpected("invalid_option", `${path}: decoder: precision`, "fp32, fp16 or int8", precision);
}

/** In a built graph, joined linears are already one tensor [in, out]. */
class FolderParameterReader extends ParameterReader {
  protected override joinedWeight({ name, inputs, outputs }: JoinedLinears): TensorSource {
    return this.weights.take(`${name}.weight`, [inputs, sum(outputs)]);
  }

  protected override joinedBias({ name, outputs }: JoinedBiases): TensorSource {
    return this.weights.take(`${name}.bias`, [sum(outputs)]);
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** The weights of a graph under their names before quantization. */
class GraphWeights implements WeightSource {
  readonly #graph: Graph;
  readonly #path: string;

  constructor(graph: Graph, path: string) {
    this.#graph = graph;
    this.#path = path;
  }

  has(name: string): boolean {
    return ["", ".fp16", ".int8"].some((form) => this.#graph.initializers.has(`${name}${form}`));
  }

  take(name: string, shape: Shape): TensorSource {
    const source = this.takeIfPresent(name, shape);
    if (source) return source;
    throw new EpalmError("invalid_model", `${this.#path}: decoder: weight ${name} is missing`);
  }

  takeIfPresent(name: string, shape: Shape): TensorSource | undefined {
    const source = this.#graph.initializers.get(name) ?? this.#dequantized(name, shape);
    if (!source || sameShape(source.shape, shape)) return source;
    throw new EpalmError(
      "invalid_model",
      `${this.#path}: decoder: weight ${name}: expected ${formatShape(shape)}, got ${formatShape(source.shape)}`,
    );
  }

  /**
   * float16, int8 [K, N] times a scale per column, or 8-bit blocks. int8 embeddings that also serve as the output head
   * are stored transposed.
   */
  #dequantized(name: string, shape: Shape): TensorSource | undefined {
    const halves = this.#graph.initializers.get(`${name}.fp16`);
    if (halves) return float32Source(halves);
    const integers = this.#graph.initializers.get(`${name}.int8`);
    const scales = this.#graph.initializers.get(`${name}.scales`);
    if (!integers || !scales) return undefined;
    if (integers.type === "uint8") return dequantizedBlocks({ values: integers, scales }, shape);
    const [, columns = 0] = integers.shape;
    const dequantized: TensorSource = {
      type: "float32",
      shape: integers.shape,
      read() {
        const factors = floats({ data: scales.read() });
        const data = new Float32Array(elementCount(integers.shape));
        // A loop, because `Float32Array.from` first collects all values in a list, which is too long for large tables.
        for (const [at, value] of (integers.read() as Int8Array).entries()) {
          data[at] = value * Number(factors[at % columns]);
        }
        return data;
      },
    };
    return sameShape(integers.shape, shape) ? dequantized : transposed(dequantized);
  }
}
