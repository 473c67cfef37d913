import {
  between,
  type CodePoints,
  characters,
  choice,
  type Expression,
  literal,
  nothing,
  optional,
  otherThan,
  type Rule,
  repeat,
  sequence,
} from "./expression.js";

/** Between two elements, and after a colon. The models write compact JSON; more space would only cost tokens. */
const SPACE = optional(literal(" "));

/** Digits of the largest integer; larger ones lose digits when they are parsed. */
const INTEGER_DIGITS = 15;
export const MAX_INTEGER = 10 ** INTEGER_DIGITS - 1;

/** Digits after the point. */
const FRACTION_DIGITS = 8;

/** Characters that a string of JSON contains as they are. */
const plainRanges: readonly CodePoints[] = otherThan([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]);

const range = (from: string, to: string): Expression => characters([[from.charCodeAt(0), to.charCodeAt(0)]]);

const hex = choice(range("0", "9"), range("a", "f"), range("A", "F"));

/** `\uXXXX` without surrogates, so that each escape is one character. */
const unicodeEscape = choice(
  sequence(
    choice(range("0", "9"), range("a", "c"), range("A", "C"), range("e", "f"), range("E", "F")),
    repeat(hex, 3, 3),
  ),
  sequence(choice(literal("d"), literal("D")), range("0", "7"), repeat(hex, 2, 2)),
);

/** One character in a string of JSON. */
const stringCharacter = choice(
  characters(plainRanges),
  sequence("\\", choice(...Array.from('"\\/bfnrt', literal), sequence("u", unicodeEscape))),
);

/** A string of `least` to `most` code points. */
export function jsonString(least: number, most: number): Expression {
  return quoted(repeat(stringCharacter, least, most));
}

export function quoted(content: Expression): Expression {
  return sequence('"', content, '"');
}

const escapes: readonly (readonly [number, string])[] = [
  [0x22, '\\"'],
  [0x5c, "\\\\"],
  [0x08, "\\b"],
  [0x0c, "\\f"],
  [0x0a, "\\n"],
  [0x0d, "\\r"],
  [0x09, "\\t"],
];

/** One of the code points, as a string of JSON contains it. Control characters without a short escape are left out. */
export function characterInString(ranges: readonly CodePoints[]): Expression {
  const isIn = (code: number) => ranges.some(([from, to]) => from <= code && code <= to);
  const plain = plainRanges.flatMap(([first, last]) =>
    ranges.flatMap(([from, to]): CodePoints[] => {
      const [low, high] = [Math.max(first, from), Math.min(last, to)];
      return low <= high ? [[low, high]] : [];
    }),
  );
  return choice(characters(plain), ...escapes.filter(([code]) => isIn(code)).map(([, escaped]) => literal(escaped)));
}

/** A string without escapes that differs from all names: the name of an additional property. */
export function otherName(names: readonly string[]): Expression {
  return sequence('"', otherRest(names.map((name) => Array.from(name))));
}

function otherRest(names: readonly (readonly string[])[]): Expression {
  const firsts = new Set(names.flatMap(([first]) => first ?? []));
  const known = Array.from(firsts, (first): CodePoints => [first.codePointAt(0) ?? 0, first.codePointAt(0) ?? 0]);
  const plain = otherThan([...known, [0, 0x1f], [0x22, 0x22], [0x5c, 0x5c]]);
  const free = sequence(characters(plain), repeat(characters(plainRanges), 0, Number.POSITIVE_INFINITY), '"');
  const isName = names.some((name) => name.length === 0);
  return choice(
    ...(isName ? [] : [literal('"')]),
    free,
    ...Array.from(firsts)
      .filter((first) => JSON.stringify(first) === `"${first}"`)
      .map((first) =>
        sequence(first, otherRest(names.filter((name) => name[0] === first).map((name) => name.slice(1)))),
      ),
  );
}

/** `least` to `most` elements, of which the first are those of `first`, in brackets. */
export function jsonArray(first: readonly Expression[], other: Expression | undefined, least: number, most: number) {
  const elements: Expression[] = [];
  const lengths = first.map((_, index) => index + 1).filter((length) => length >= least && length <= most);
  for (const length of lengths) elements.push(listOf(first.slice(0, length)));
  if (least === 0) elements.push(literal(""));
  const rest = first.length;
  if (other && most > rest) {
    const [fewest, more] = [Math.max(least - rest, 1), most - rest];
    const separated = sequence(",", SPACE, other);
    elements.push(
      rest > 0
        ? sequence(listOf(first), repeat(separated, fewest, more))
        : sequence(other, repeat(separated, fewest - 1, more - 1)),
    );
  }
  return sequence("[", choice(...elements), "]");
}

function listOf(items: readonly Expression[]): Expression {
  return sequence(...items.flatMap((item, index) => (index === 0 ? [item] : [",", SPACE, item])));
}

/** A property of an object, and whether every object has it. */
export interface JsonProperty {
  readonly name: string;
  readonly value: Expression;
  readonly isRequired: boolean;
}

/** An object whose properties are in this order. @param other the value of any others, which come last */
export function jsonObject(properties: readonly JsonProperty[], other: Expression | undefined): Expression {
  const otherMember = other && member(otherName(properties.map(({ name }) => name)), other);
  const more = otherMember ? repeat(sequence(",", SPACE, otherMember), 0, Number.POSITIVE_INFINITY) : literal("");
  // The members after at least one other, and those that begin an object, from the last property to the first.
  let following: Expression = more;
  let beginning: Expression = otherMember ? optional(sequence(otherMember, more)) : literal("");
  for (const { name, value, isRequired } of properties.toReversed()) {
    const own = member(literal(JSON.stringify(name)), value);
    const [after, first] = [following, sequence(own, following)];
    const next = rule(sequence(",", SPACE, own, after));
    beginning = isRequired ? first : rule(choice(first, beginning));
    following = isRequired ? next : rule(choice(next, after));
  }
  return sequence("{", beginning, "}");
}

function member(name: Expression, value: Expression): Expression {
  return sequence(name, ":", SPACE, value);
}

/** A rule, so that an expression that several others contain is read only once. */
export function rule(body: Expression): Rule {
  return { kind: "rule", body };
}

const NINES = Buffer.from("9".repeat(INTEGER_DIGITS));
const DIGITS = [0x30, 0x39] as const;

/** The integers from `least` to `most`; at most 15 digits. */
export function jsonInteger(least: number, most: number): Expression {
  const [low, high] = [Math.max(least, -MAX_INTEGER), Math.min(most, MAX_INTEGER)];
  return choice(
    ...(high < 0 || low > high ? [] : [wholeNumber(Math.max(0, low), high)]),
    ...(low >= 0 || low > high ? [] : [sequence("-", wholeNumber(Math.max(1, -high), -low))]),
  );
}

/** Integers of at least 0, without leading zeros. */
function wholeNumber(least: number, most: number): Expression {
  const options: Expression[] = [];
  for (let digits = 1; digits <= INTEGER_DIGITS; digits++) {
    const [first, last] = [digits === 1 ? 0 : 10 ** (digits - 1), Number(NINES.subarray(0, digits).toString())];
    const [low, high] = [Math.max(first, least), Math.min(last, most)];
    if (low <= high) options.push(between(Buffer.from(String(low)), Buffer.from(String(high)), DIGITS));
  }
  return choice(...options);
}

/** `.5` and so on; never zero, so that the number is strictly between two integers. */
const fraction = sequence(".", repeat(range("0", "9"), 0, FRACTION_DIGITS - 1), range("1", "9"));

/** The bounds of a number. The integers in the range may begin after `least`, which then does not belong to it. */
export interface NumberRange {
  readonly least: number;
  readonly most: number;
  /** The least and the greatest integer. */
  readonly integers: readonly [number, number];
  /** Bounds that belong to the range and are no integers. */
  readonly exact: readonly number[];
}

/** Numbers of a range: integers, decimal fractions between two of its integers or bounds, and its inclusive bounds. */
export function jsonNumber({ least, most, integers, exact }: NumberRange): Expression {
  const [low, high] = [Math.max(Math.ceil(least), -MAX_INTEGER), Math.min(Math.floor(most), MAX_INTEGER)];
  const positive = high > 0 && low < high ? [sequence(wholeNumber(Math.max(0, low), high - 1), fraction)] : [];
  const negative = low < 0 && low < high ? [sequence("-", wholeNumber(Math.max(0, -high), -low - 1), fraction)] : [];
  return choice(
    jsonInteger(...integers),
    ...positive,
    ...negative,
    ...exact.map((bound) => literal(JSON.stringify(bound))),
  );
}

const anyNumber = jsonNumber({
  least: -MAX_INTEGER,
  most: MAX_INTEGER,
  integers: [-MAX_INTEGER, MAX_INTEGER],
  exact: [],
});

/** Any value. */
export function anyValue(): Rule {
  const value = rule(nothing);
  value.body = choice(
    jsonString(0, Number.POSITIVE_INFINITY),
    anyNumber,
    literal("true"),
    literal("false"),
    literal("null"),
    jsonArray([], value, 0, Number.POSITIVE_INFINITY),
    jsonObject([], value),
  );
  return value;
}
