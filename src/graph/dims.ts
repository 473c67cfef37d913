import { EpalmError } from "../core/errors.js";
import { formatShape } from "../tensor/tensor.js";
import type { Dim } from "./ir.js";

/** Arithmetic of sizes, some of which are symbolic: `text+1`, `step*3`, `batch*step`. */

/** The shape of `a op b` under the broadcasting rules of ONNX (and numpy). @throws `invalid_graph` */
export function broadcastShapes(a: readonly Dim[], b: readonly Dim[], where: string): Dim[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, index) => {
    const left = a[index - rank + a.length] ?? 1;
    const right = b[index - rank + b.length] ?? 1;
    if (left === right || right === 1) return left;
    if (left === 1) return right;
    throw new EpalmError("invalid_graph", `${where}: shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast`);
  });
}

/** `a + b`. Equal names are combined and terms are sorted, so that equal sums have equal names. */
export function addDims(a: Dim, b: Dim): Dim {
  return joinTerms([...termsOf(a), ...termsOf(b)]);
}

/** A term of a sum: a multiple of a name, or a number if the name is empty. */
interface Term {
  readonly name: string;
  readonly times: number;
}

/** `step*3+1` has the terms 3 times `step` and 1. */
function termsOf(dim: Dim): Term[] {
  if (typeof dim === "number") return [{ name: "", times: dim }];
  return dim.split("+").map((term) => {
    const [, name = "", times = "1"] = /^(.*?)(?:\*(\d+))?$/.exec(term) ?? [];
    return Number.isNaN(Number(name)) ? { name, times: Number(times) } : { name: "", times: Number(name) };
  });
}

function joinTerms(terms: readonly Term[]): Dim {
  const counts = new Map<string, number>();
  for (const { name, times } of terms) counts.set(name, (counts.get(name) ?? 0) + times);
  const known = counts.get("") ?? 0;
  counts.delete("");
  if (counts.size === 0) return known;
  const names = Array.from(counts, ([name, times]) => (times === 1 ? name : `${name}*${times}`)).sort();
  return [...names, ...(known ? [String(known)] : [])].join("+");
}

/**
 * The size that a reshape leaves open: the product of `from` divided by the product of `known`. Equal names cancel;
 * the rest must be an integer, optionally multiplied by names.
 *
 * @throws `invalid_graph`
 */
export function remainingDim(from: readonly Dim[], known: readonly Dim[], where: string): Dim {
  const [all, taken] = [factors(from), factors(known)];
  for (const name of taken.names) {
    const index = all.names.indexOf(name);
    if (index < 0) throw misfit(from, known, where);
    all.names.splice(index, 1);
  }
  const size = all.product / taken.product;
  if (!Number.isInteger(size)) throw misfit(from, known, where);
  return all.names.reduce<Dim>(multiplyDims, size);
}

/** `a * b`. Sums are expanded, and the names of a product are sorted. */
function multiplyDims(a: Dim, b: Dim): Dim {
  const names = (left: Term, right: Term) =>
    [left.name, right.name].flatMap((name) => (name === "" ? [] : name.split("*"))).sort();
  return joinTerms(
    termsOf(a).flatMap((left) =>
      termsOf(b).map((right) => ({ name: names(left, right).join("*"), times: left.times * right.times })),
    ),
  );
}

/**
 * A product of sizes as names and a number: `step*3` has the factors `step` and 3, and `step*3+3` has `step+1` and 3.
 */
function factors(dims: readonly Dim[]): { names: string[]; product: number } {
  const names: string[] = [];
  let product = 1;
  for (const dim of dims) {
    const terms = termsOf(dim);
    const common = terms.map(({ times }) => times).reduce(greatestCommonDivisor);
    product *= common;
    const rest = joinTerms(terms.map(({ name, times }) => ({ name, times: common && times / common })));
    if (typeof rest === "string") names.push(...(rest.includes("+") ? [rest] : rest.split("*")));
  }
  return { names, product };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? Math.abs(a) : greatestCommonDivisor(b, a % b);
}

function misfit(from: readonly Dim[], known: readonly Dim[], where: string): EpalmError {
  return new EpalmError(
    "invalid_graph",
    `${where}: ${formatShape(from)} cannot be reshaped to hold ${formatShape(known)}`,
  );
}

/** A name for a size that is known only at run time and that no rule can infer; a builder may replace it. */
export function unknownDim(label: string): Dim {
  return `?${label}`;
}

/** Whether a declared and an inferred size can be equal at run time. */
export function compatibleDims(declared: Dim, inferred: Dim): boolean {
  if (declared === inferred) return true;
  return typeof inferred === "string" && (typeof declared === "string" || inferred.startsWith("?"));
}
