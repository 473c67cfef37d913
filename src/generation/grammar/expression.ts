/**
 * Grammars over bytes. An expression matches strings in UTF-8; a rule may contain itself, as values of JSON do. Rules
 * must not begin with themselves.
 */
export type Expression =
  /** These bytes. */
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  /** One byte from `from` to `to`, both inclusive. */
  | { readonly kind: "range"; readonly from: number; readonly to: number }
  | { readonly kind: "sequence"; readonly items: readonly Expression[] }
  /** No options match nothing. */
  | { readonly kind: "choice"; readonly options: readonly Expression[] }
  | { readonly kind: "repeat"; readonly item: Expression; readonly least: number; readonly most: number }
  | Rule;

/** A part of a grammar that may occur in several places. Its body is set after its creation, so that it can recur. */
export interface Rule {
  readonly kind: "rule";
  body: Expression;
}

/** Code points, both inclusive. */
export type CodePoints = readonly [from: number, to: number];

export const MAX_CODE_POINT = 0x10ffff;

export const nothing: Expression = { kind: "choice", options: [] };

export function literal(text: string): Expression {
  return { kind: "bytes", bytes: Buffer.from(text) };
}

export function sequence(...items: readonly (Expression | string)[]): Expression {
  const parts = items.map((item) => (typeof item === "string" ? literal(item) : item));
  const [only] = parts;
  return only && parts.length === 1 ? only : { kind: "sequence", items: parts };
}

export function choice(...options: readonly Expression[]): Expression {
  const [only] = options;
  return only && options.length === 1 ? only : { kind: "choice", options };
}

/** Nothing matches if `least` is above `most`. */
export function repeat(item: Expression, least: number, most: number): Expression {
  return least > most ? nothing : { kind: "repeat", item, least, most };
}

export function optional(item: Expression): Expression {
  return repeat(item, 0, 1);
}

/** One of the code points, in UTF-8. Surrogates have no UTF-8 and are left out. */
export function characters(ranges: readonly CodePoints[]): Expression {
  return choice(
    ...ranges.flatMap(([from, to]) =>
      encodable.flatMap(([first, last]): Expression[] => {
        const [low, high] = [Math.max(from, first), Math.min(to, last)];
        if (low > high) return [];
        return [between(utf8(low), utf8(high), CONTINUATION)];
      }),
    ),
  );
}

/** The code points that one, two, three and four bytes encode. */
const encodable: readonly CodePoints[] = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, MAX_CODE_POINT],
];

const CONTINUATION = [0x80, 0xbf] as const;

function utf8(codePoint: number): Uint8Array {
  return Buffer.from(String.fromCodePoint(codePoint));
}

/**
 * The strings of bytes from `low` to `high` in their order, both inclusive and of the same length.
 *
 * @param bounds the least and the greatest byte that may follow the first
 */
export function between(low: Uint8Array, high: Uint8Array, bounds: readonly [number, number]): Expression {
  const [from = 0, to = 0] = [low[0], high[0]];
  if (low.length === 1) return { kind: "range", from, to };
  const [least, most] = bounds;
  const isWhole = low.every((byte) => byte === least) && high.every((byte) => byte === most);
  if (isWhole) return repeat({ kind: "range", from, to }, low.length, low.length);
  const [lowRest, highRest] = [low.subarray(1), high.subarray(1)];
  if (from === to) return sequence({ kind: "range", from, to }, between(lowRest, highRest, bounds));
  const [rest, whole] = [lowRest.length, { kind: "range", from: least, to: most } as const];
  const options = [
    sequence({ kind: "range", from, to: from }, between(lowRest, new Uint8Array(rest).fill(most), bounds)),
    sequence({ kind: "range", from: to, to }, between(new Uint8Array(rest).fill(least), highRest, bounds)),
  ];
  if (to - from < 2) return choice(...options);
  return choice(...options, sequence({ kind: "range", from: from + 1, to: to - 1 }, repeat(whole, rest, rest)));
}

/** The code points in neither of the ranges, in order. */
export function otherThan(ranges: readonly CodePoints[]): CodePoints[] {
  const others: CodePoints[] = [];
  let next = 0;
  for (const [from, to] of ranges.toSorted(([a], [b]) => a - b)) {
    if (from > next) others.push([next, from - 1]);
    next = Math.max(next, to + 1);
  }
  return next > MAX_CODE_POINT ? others : [...others, [next, MAX_CODE_POINT]];
}

/** In bytes; expressions that only longer strings match are treated as if no string matched them. */
const MAX_SHORTEST = 65_536;

/**
 * The shortest string of each rule and of an expression, as bytes in a string of Latin-1.
 *
 * @returns undefined for an expression that no finite string matches
 */
export function shortestStrings(root: Expression): (expression: Expression) => string | undefined {
  const users = usersOfRules(root);
  const known = new Map<Rule, string>();
  const waiting = new Set(Array.from(users.keys()).reverse());
  for (const rule of waiting) {
    waiting.delete(rule);
    // Nothing is remembered between two rules, because what one learns changes the expressions of the other.
    const found = new ShortestSearch(known).of(rule.body);
    if (found === undefined || found.length >= (known.get(rule)?.length ?? Number.POSITIVE_INFINITY)) continue;
    known.set(rule, found);
    for (const user of users.get(rule) ?? []) waiting.add(user);
  }
  const search = new ShortestSearch(known);
  return (expression) => search.of(expression);
}

/** Computes each expression once, from what is known about the rules. */
class ShortestSearch {
  readonly #known: ReadonlyMap<Rule, string>;
  readonly #found = new Map<Expression, string | undefined>();

  constructor(known: ReadonlyMap<Rule, string>) {
    this.#known = known;
  }

  of(expression: Expression): string | undefined {
    if (expression.kind === "rule") return this.#known.get(expression);
    if (!this.#found.has(expression)) this.#found.set(expression, this.#compute(expression));
    return this.#found.get(expression);
  }

  #compute(expression: Exclude<Expression, Rule>): string | undefined {
    switch (expression.kind) {
      case "bytes":
        return Buffer.from(expression.bytes).toString("latin1");
      case "range":
        return String.fromCharCode(plainByte(expression.from, expression.to));
      case "repeat": {
        if (expression.least === 0) return "";
        const item = this.of(expression.item);
        const isLong = item === undefined || item.length * expression.least > MAX_SHORTEST;
        return isLong ? undefined : item.repeat(expression.least);
      }
      case "sequence": {
        const parts = expression.items.map((item) => this.of(item));
        const text = parts.includes(undefined) ? undefined : parts.join("");
        return text !== undefined && text.length <= MAX_SHORTEST ? text : undefined;
      }
      case "choice": {
        const found = expression.options.flatMap((option) => this.of(option) ?? []);
        return found.length === 0 ? undefined : found.reduce((best, one) => (one.length < best.length ? one : best));
      }
    }
  }
}

/** A byte that people expect in a text, if there is one. */
function plainByte(from: number, to: number): number {
  return [0x61, 0x30].find((byte) => byte >= from && byte <= to) ?? from;
}

/** The rules that an expression reaches, each with the rules that use it. */
function usersOfRules(root: Expression): ReadonlyMap<Rule, ReadonlySet<Rule>> {
  const users = new Map<Rule, Set<Rule>>();
  const waiting: (readonly [Expression, Rule | undefined])[] = [[root, undefined]];
  const seen = new Map<Rule | undefined, Set<Expression>>();
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [expression, user] = next;
    const inUser = seen.get(user) ?? new Set();
    seen.set(user, inUser);
    if (inUser.has(expression)) continue;
    inUser.add(expression);
    if (expression.kind === "sequence") waiting.push(...expression.items.map((item) => [item, user] as const));
    if (expression.kind === "choice") waiting.push(...expression.options.map((option) => [option, user] as const));
    if (expression.kind === "repeat") waiting.push([expression.item, user]);
    if (expression.kind !== "rule") continue;
    const known = users.get(expression);
    if (user) users.set(expression, (known ?? new Set()).add(user));
    else users.set(expression, known ?? new Set());
    if (!known) waiting.push([expression.body, expression]);
  }
  return users;
}
