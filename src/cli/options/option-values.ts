import { InvalidArgumentError } from "commander";

/** Readers of option values. Nothing is coerced: what is not wholly a value is refused, and the limit named. */

const INTEGER = /^-?\d+$/;
const NUMBER = /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** An integer of [least, most]. */
export function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = INTEGER.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected an integer from ${least} to ${most}.`);
  };
}

/** A number of [least, most]. */
export function number(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = NUMBER.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected a number from ${least} to ${most}.`);
  };
}

/** A number of (0, 1]. */
export function probability(text: string): number {
  const value = NUMBER.test(text) ? Number(text) : Number.NaN;
  if (value > 0 && value <= 1) return value;
  throw new InvalidArgumentError("Expected a number above 0, at most 1.");
}

/** A text of at least one character. */
export function someText(text: string): string {
  if (text !== "") return text;
  throw new InvalidArgumentError("Expected a text, got none.");
}

/** For options that may be given several times: their values in order. */
export function each<T>(read: (text: string) => T): (text: string, previous: readonly T[] | undefined) => T[] {
  return (text, previous = []) => [...previous, read(text)];
}

/** Only the options that were given: an undefined one may hide a default of the library. */
export function givenOnly<T extends object>(options: { readonly [K in keyof T]: T[K] | undefined }): Partial<T> {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<T>;
}
