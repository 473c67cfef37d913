/** A filter for resizing, as in Pillow. */
export interface Filter {
  /** Half the width in source pixels when the source is not reduced. */
  readonly support: number;
  readonly weight: (x: number) => number;
}

/** The source positions that give one position of a resized axis, and their weights. */
export interface Taps {
  readonly first: number;
  readonly weights: readonly number[];
}

/** Keys' cubic convolution; -0.5 is Catmull-Rom. */
export function cubic(distance: number, a: number): number {
  const x = Math.abs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/**
 * The taps of each position of an axis that is resized with a filter. The filter is widened when the axis is reduced,
 * as in Pillow (libImaging/Resample.c) and in torch's `interpolate` with `antialias`.
 */
export function filterTaps(from: number, to: number, { support, weight }: Filter): Taps[] {
  const scale = from / to;
  const widening = Math.max(scale, 1);
  const reach = support * widening;
  return Array.from({ length: to }, (_, position) => {
    const center = (position + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - reach + 0.5));
    const end = Math.min(from, Math.trunc(center + reach + 0.5));
    const raw = Array.from({ length: end - first }, (_, tap) => weight((tap + first - center + 0.5) * (1 / widening)));
    const sum = raw.reduce((total, value) => total + value, 0);
    return { first, weights: raw.map((value) => value / sum) };
  });
}

/** Resizes the second axis: [outer, from, inner] -> [outer, number of taps, inner]. */
export function resizedAxis(
  data: ArrayLike<number>,
  { outer, from, inner }: { readonly outer: number; readonly from: number; readonly inner: number },
  taps: readonly Taps[],
): Float64Array {
  const output = new Float64Array(outer * taps.length * inner);
  for (let row = 0; row < outer; row++) {
    taps.forEach(({ first, weights }, place) => {
      const target = (row * taps.length + place) * inner;
      weights.forEach((weight, tap) => {
        // Places outside the axis have the values at its ends.
        const index = Math.min(from - 1, Math.max(0, first + tap));
        const start = (row * from + index) * inner;
        for (let i = 0; i < inner; i++)
          output[target + i] = Number(output[target + i]) + weight * Number(data[start + i]);
      });
    });
  }
  return output;
}
