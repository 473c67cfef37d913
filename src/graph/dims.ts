import { EpalmError } from "../errors.js";
import { formatShape } from "../tensor/tensor.js";
import type { Dim } from "./ir.js";

/** The shape of `a op b` under ONNX's (numpy's) broadcasting. */
export function broadcastShapes(a: readonly Dim[], b: readonly Dim[], where: string): Dim[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, index) => {
    const left = a[index - rank + a.length] ?? 1;
    const right = b[index - rank + b.length] ?? 1;
    if (left === right || right === 1) return left;
    if (left === 1) return right;
    throw new EpalmError(
      "invalid_graph",
      `${where}: shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast`,
    );
  });
}

/** `a + b`; equal names are counted and all are sorted, so that equal sums have equal names. */
export function addDims(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return a + b;
  const counts = new Map<string, number>();
  for (const term of `${a}+${b}`.split("+")) {
    const [, name = "", times = "1"] = /^(.*?)(?:\*(\d+))?$/.exec(term) ?? [];
    const known = Number(name);
    if (Number.isNaN(known)) counts.set(name, (counts.get(name) ?? 0) + Number(times));
    else counts.set("", (counts.get("") ?? 0) + known);
  }
  const known = counts.get("") ?? 0;
  counts.delete("");
  const names = Array.from(counts, ([name, times]) => (times === 1 ? name : `${name}*${times}`)).sort();
  return [...names, ...(known ? [String(known)] : [])].join("+");
}

/**
 * The one size that is left open in a reshape: the product of `from` over the product of `known`.
 * Names cancel against the same names; what is left must be a whole number, or names only.
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
  return all.names.length === 0
    ? size
    : [...all.names.sort(), ...(size === 1 ? [] : [String(size)])].join("*");
}

/** A product of sizes, as names and a number: `step*3` counts as `step` and 3. */
function factors(dims: readonly Dim[]): { names: string[]; product: number } {
  const parts = dims.flatMap((dim) => String(dim).split("*"));
  const isName = (part: string) => Number.isNaN(Number(part));
  const product = parts.reduce((total, part) => (isName(part) ? total : total * Number(part)), 1);
  return { names: parts.filter(isName), product };
}

function misfit(from: readonly Dim[], known: readonly Dim[], where: string): EpalmError {
  return new EpalmError(
    "invalid_graph",
    `${where}: ${formatShape(from)} cannot be reshaped to hold ${formatShape(known)}`,
  );
}

/** Whether a declared and an inferred size can be the same at run time. */
export function compatibleDims(a: Dim, b: Dim): boolean {
  return a === b || (typeof a === "string" && typeof b === "string");
}
