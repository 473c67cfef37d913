import type { Random } from "../core/random.js";
import { elementCount, type Shape } from "../tensor/tensor.js";

/** Distributions from which initial weights are drawn. */

/** Draws from the normal distribution with mean 0 and std 1 (Box and Muller 1958). */
export function normalNumber(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

export function normal(random: Random, shape: Shape, std: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: elementCount(shape) }, () => std * normalNumber(random));
}

/** A weight [out, ...in], uniform within ±sqrt(6 / (in + out)) (Glorot and Bengio 2010). */
export function xavierUniform(random: Random, shape: Shape): Float32Array<ArrayBuffer> {
  const [outputs = 1, ...inner] = shape;
  const bound = Math.sqrt(6 / (outputs + elementCount(inner)));
  return Float32Array.from({ length: elementCount(shape) }, () => bound * (2 * random() - 1));
}

export function filled(shape: Shape, value: number): Float32Array<ArrayBuffer> {
  return new Float32Array(elementCount(shape)).fill(value);
}
