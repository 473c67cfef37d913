/**
 * Seeded random numbers that are the same on every platform: xoshiro128** 1.1 with a state initialised by splitmix64
 * and streams separated by `jump`, as the authors recommend (D. Blackman and S. Vigna, "Scrambled Linear Pseudorandom
 * Number Generators", https://prng.di.unimi.it).
 */

/** Returns the next number of a stream: uniform in [0, 1), a multiple of 2^-53. */
export type Random = () => number;

/**
 * `count` streams that do not overlap: each begins 2^64 steps after the previous one. Stream `i` of a seed does not
 * depend on `count`.
 *
 * @param seed an integer from 0 to 2^53 - 1
 */
export function randomStreams(seed: number, count: number): Random[] {
  const streams: Random[] = [];
  for (let state = seededState(seed); streams.length < count; state = jump(state)) streams.push(streamFrom(state));
  return streams;
}

/** The items in a random order, all orders being equally likely (Fisher-Yates). */
export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const result = items.slice();
  for (let last = result.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other] as T, result[last] as T];
  }
  return result;
}

/** Four words of 32 bits, not all zero. */
export type State = readonly [number, number, number, number];

/** The 32-bit output of a state. */
export function output([, b]: State): number {
  return Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0;
}

export function step([a, b, c, d]: State): State {
  return [a ^ b ^ d, a ^ b ^ c, a ^ c ^ (b << 9), rotateLeft(b ^ d, 11)];
}

/** The state 2^64 steps after `state`. */
export function jump(state: State): State {
  let jumped: State = [0, 0, 0, 0];
  let current = state;
  for (const mask of JUMP) {
    for (let bit = 0; bit < 32; bit++) {
      if (mask & (1 << bit)) jumped = xor(jumped, current);
      current = step(current);
    }
  }
  return jumped;
}

/** The jump polynomial from the authors' xoshiro128starstar.c. */
const JUMP = [0x8764000b, 0xf542d2d3, 0x6fa035c3, 0x77f2db5b];

/** Two outputs of splitmix64, low half first; they are never both zero. */
export function seededState(seed: number): State {
  const increment = 0x9e3779b97f4a7c15n;
  const first = splitmix64(BigInt(seed) + increment);
  const second = splitmix64(BigInt(seed) + 2n * increment);
  const half = (word: bigint) => Number(BigInt.asIntN(32, word));
  return [half(first), half(first >> 32n), half(second), half(second >> 32n)];
}

function splitmix64(counter: bigint): bigint {
  const word = (value: bigint) => BigInt.asUintN(64, value);
  const a = word(counter);
  const b = word((a ^ (a >> 30n)) * 0xbf58476d1ce4e5b9n);
  const c = word((b ^ (b >> 27n)) * 0x94d049bb133111ebn);
  return c ^ (c >> 31n);
}

function streamFrom(start: State): Random {
  let state = start;
  const bits = (count: number) => {
    const word = output(state);
    state = step(state);
    return word >>> (32 - count);
  };
  return () => (bits(27) * 2 ** 26 + bits(26)) / 2 ** 53;
}

function rotateLeft(word: number, count: number): number {
  return (word << count) | (word >>> (32 - count));
}

function xor([a, b, c, d]: State, [e, f, g, h]: State): State {
  return [a ^ e, b ^ f, c ^ g, d ^ h];
}
