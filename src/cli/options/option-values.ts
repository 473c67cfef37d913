import { InvalidArgumentError } from "commander";

/** Parsers of option values. Values are never coerced; an invalid one is rejected with the accepted range. */

const INTEGER = /^-?\d+$/;
const NUMBER = /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Parses an integer in [least, most]. */
export function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = INTEGER.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected an integer from ${least} to ${most}.`);
  };
}

/** Parses a number in [least, most]. */
export function number(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = NUMBER.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected a number from ${least} to ${most}.`);
  };
}

/** Parses a number in (0, 1]. */
export function probability(text: string): number {
  const value = NUMBER.test(text) ? Number(text) : Number.NaN;
  if (value > 0 && value <= 1) return value;
  throw new InvalidArgumentError("Expected a number above 0 and at most 1.");
}

/** Parses `TOKEN=NUMBER` with a number in [-bound, bound]; may be repeated. The token may contain `=`. */
export function biases(
  bound: number,
): (text: string, previous: Readonly<Record<string, number>> | undefined) => Readonly<Record<string, number>> {
  return (text, previous = {}) => {
    const [, token = "", value = ""] = /^(.+)=(.*)$/s.exec(text) ?? [];
    if (token === "") throw new InvalidArgumentError("Expected TOKEN=NUMBER.");
    return { ...previous, [token]: number(-bound, bound)(value) };
  };
}

/** Parses an object of JSON. */
export function jsonObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  } catch {
    // The message is the same for text that is not JSON.
  }
  throw new InvalidArgumentError("Expected an object of JSON.");
}

/** Accepts a string of at least one character. */
export function someText(text: string): string {
  if (text !== "") return text;
  throw new InvalidArgumentError("Expected a non-empty string, got an empty string.");
}

/** For options that may be repeated: collects the values in order. */
export function each<T>(read: (text: string) => T): (text: string, previous: readonly T[] | undefined) => T[] {
  return (text, previous = []) => [...previous, read(text)];
}

/** Removes undefined options, which would override defaults. */
export function givenOnly<T extends object>(options: { readonly [K in keyof T]: T[K] | undefined }): Partial<T> {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<T>;
}
