import { EpalmError, unexpected } from "../../core/errors.js";
import {
  type CodePoints,
  characters,
  choice,
  type Expression,
  MAX_CODE_POINT,
  otherThan,
  repeat,
  sequence,
} from "./expression.js";

/** In UTF-16 units; patterns that people write are far shorter. */
export const MAX_PATTERN = 4096;

/** Nested groups; the bound keeps a hostile pattern from exhausting the call stack. */
const MAX_DEPTH = 100;

/** More repetitions than a text has tokens are of no use. */
const MAX_REPETITIONS = 10_000;

export interface RegexOptions {
  /** Writes the characters of a class. Default: in UTF-8. */
  readonly characters?: (ranges: readonly CodePoints[]) => Expression;
  /** Whether a text only has to contain a match, as in JSON schemas. Default: it must match as a whole. */
  readonly contains?: boolean;
}

/**
 * The expression for a regular expression of JavaScript, with the flag `u`. Lazy quantifiers match the same texts as
 * greedy ones. What a grammar cannot express is rejected: lookaround, back references, `\b` and `\p`.
 *
 * @param where the place of the pattern, for errors
 * @throws invalid_option, too_large
 */
export function regexExpression(pattern: string, where: string, options: RegexOptions = {}): Expression {
  if (pattern.length > MAX_PATTERN) {
    throw unexpected("too_large", where, `a pattern of at most ${MAX_PATTERN} UTF-16 units`, pattern.length);
  }
  return new RegexReader(pattern, where, options).read();
}

const ANY: readonly CodePoints[] = [[0, MAX_CODE_POINT]];
const LINE_ENDS: readonly CodePoints[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];

const classes: Readonly<Record<string, readonly CodePoints[]>> = {
  d: [[0x30, 0x39]],
  w: [
    [0x30, 0x39],
    [0x41, 0x5a],
    [0x5f, 0x5f],
    [0x61, 0x7a],
  ],
  s: [
    [0x09, 0x0d],
    [0x20, 0x20],
    [0xa0, 0xa0],
    [0x1680, 0x1680],
    [0x2000, 0x200a],
    [0x2028, 0x2029],
    [0x202f, 0x202f],
    [0x205f, 0x205f],
    [0x3000, 0x3000],
    [0xfeff, 0xfeff],
  ],
};

const controls: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c, v: 0x0b, "0": 0 };

class RegexReader {
  readonly #pattern: readonly string[];
  readonly #where: string;
  readonly #characters: (ranges: readonly CodePoints[]) => Expression;
  readonly #contains: boolean;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, where: string, { characters: write = characters, contains = false }: RegexOptions) {
    this.#pattern = Array.from(pattern);
    this.#where = where;
    this.#characters = write;
    this.#contains = contains;
  }

  read(): Expression {
    const options: Expression[] = [];
    do {
      const isStart = this.#takes("^");
      const items = this.#items();
      const isEnd = this.#takes("$");
      const more = this.#contains ? [repeat(this.#characters(ANY), 0, Number.POSITIVE_INFINITY)] : [];
      options.push(sequence(...(isStart ? [] : more), ...items, ...(isEnd ? [] : more)));
    } while (this.#takes("|"));
    if (this.#at < this.#pattern.length) throw this.#unsupported(this.#peek());
    return choice(...options);
  }

  #peek(): string {
    return this.#pattern[this.#at] ?? "";
  }

  #takes(text: string): boolean {
    const found = this.#pattern.slice(this.#at, this.#at + text.length).join("") === text;
    if (found) this.#at += text.length;
    return found;
  }

  #unsupported(what: string): EpalmError {
    const place = `'${what}' at character ${this.#at + 1} is not supported`;
    return new EpalmError("invalid_option", `${this.#where}: in the regular expression, ${place}`);
  }

  #items(): Expression[] {
    const items: Expression[] = [];
    while (this.#at < this.#pattern.length && !["|", ")", "$"].includes(this.#peek())) {
      items.push(this.#repeated(this.#item()));
    }
    return items;
  }

  #item(): Expression {
    const char = this.#peek();
    if (this.#takes("(")) return this.#group();
    if (this.#takes("[")) return this.#characters(this.#class());
    if (this.#takes(".")) return this.#characters(otherThan(LINE_ENDS));
    if (["*", "+", "?", "^", "{", "}", "]"].includes(char)) throw this.#unsupported(char);
    return this.#characters(this.#character());
  }

  #group(): Expression {
    if (++this.#depth > MAX_DEPTH)
      throw unexpected("too_large", this.#where, `at most ${MAX_DEPTH} nested groups`, "more");
    if (this.#takes("?")) {
      if (!this.#takes(":") && !this.#skipName()) throw this.#unsupported(`(?${this.#peek()}`);
    }
    const options: Expression[] = [];
    do options.push(sequence(...this.#items()));
    while (this.#takes("|"));
    if (!this.#takes(")")) throw this.#unsupported(this.#peek() || "( without )");
    this.#depth--;
    return choice(...options);
  }

  /** The name of a group, `<name>`; lookbehind begins with `<=` or `<!`. */
  #skipName(): boolean {
    const rest = this.#pattern.slice(this.#at).join("");
    const [name] = /^<[\p{L}_$][\p{L}\p{N}_$]*>/u.exec(rest) ?? [];
    this.#at += Array.from(name ?? "").length;
    return name !== undefined;
  }

  #repeated(item: Expression): Expression {
    const bounds = this.#bounds();
    if (!bounds) return item;
    this.#takes("?");
    if (["*", "+", "?", "{"].includes(this.#peek())) throw this.#unsupported(this.#peek());
    return repeat(item, ...bounds);
  }

  #bounds(): readonly [number, number] | undefined {
    if (this.#takes("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.#takes("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.#takes("?")) return [0, 1];
    if (this.#peek() !== "{") return undefined;
    const rest = this.#pattern.slice(this.#at, this.#at + 20).join("");
    const [whole = "", from = "", comma, to = ""] = /^\{(\d+)(,?)(\d*)\}/.exec(rest) ?? [];
    const least = Number(from);
    const most = comma ? (to === "" ? Number.POSITIVE_INFINITY : Number(to)) : least;
    const isBounded = least <= MAX_REPETITIONS && (most <= MAX_REPETITIONS || most === Number.POSITIVE_INFINITY);
    if (whole === "" || least > most || !isBounded) throw this.#unsupported("{");
    this.#at += whole.length;
    return [least, most];
  }

  /** After `[`. */
  #class(): CodePoints[] {
    const isNegated = this.#takes("^");
    const ranges: CodePoints[] = [];
    while (!this.#takes("]")) {
      if (this.#at >= this.#pattern.length) throw this.#unsupported("[ without ]");
      const [first, ...others] = this.#character();
      const isSingle = first && others.length === 0 && first[0] === first[1];
      const isRange = isSingle && this.#peek() === "-" && this.#pattern[this.#at + 1] !== "]";
      if (!isRange) {
        ranges.push(...(first ? [first] : []), ...others);
        continue;
      }
      this.#takes("-");
      const [last, ...more] = this.#character();
      if (!last || more.length > 0 || last[0] !== last[1] || last[0] < first[0]) throw this.#unsupported("-");
      ranges.push([first[0], last[0]]);
    }
    return isNegated ? otherThan(ranges) : ranges;
  }

  /** One character, or an escape that stands for a class of them. */
  #character(): readonly CodePoints[] {
    const char = this.#pattern[this.#at++] ?? "";
    if (char !== "\\") return [one(char.codePointAt(0) ?? 0)];
    const escaped = this.#pattern[this.#at++] ?? "";
    const found = classes[escaped];
    if (found) return found;
    const opposite = /[DWS]/.test(escaped) ? classes[escaped.toLowerCase()] : undefined;
    if (opposite) return otherThan(opposite);
    const control = controls[escaped];
    if (control !== undefined) return [one(control)];
    if (escaped === "x" || escaped === "u") return [one(this.#hexadecimal(escaped))];
    if (/[\p{L}\p{N}]/u.test(escaped) || escaped === "") throw this.#unsupported(`\\${escaped}`);
    return [one(escaped.codePointAt(0) ?? 0)];
  }

  #hexadecimal(kind: string): number {
    const rest = this.#pattern.slice(this.#at, this.#at + 8).join("");
    const form = kind === "x" ? /^([\da-f]{2})/i : /^(?:([\da-f]{4})|\{([\da-f]{1,6})\})/i;
    const [whole = "", short, long] = form.exec(rest) ?? [];
    const code = Number.parseInt(short ?? long ?? "", 16);
    if (!(code <= MAX_CODE_POINT)) throw this.#unsupported(`\\${kind}`);
    this.#at += whole.length;
    return code;
  }
}

function one(codePoint: number): CodePoints {
  return [codePoint, codePoint];
}
