import { type Expression, shortestStrings } from "./expression.js";

/**
 * Paths that one state follows at most. A state with more, which only ambiguous grammars have, leaves out the others:
 * every text that it accepts still matches the grammar.
 */
const MAX_PATHS = 4096;

/** States that are kept; the others are computed again. A state takes two kilobytes and more. */
const MAX_STATES = 10_000;

/** What is left to match: an expression of which `done` bytes or repetitions are matched, and what follows it. */
interface Path {
  readonly id: number;
  readonly head: Expression;
  readonly done: number;
  /** Undefined at the end of the text. */
  readonly rest: Path | undefined;
  /** The shortest string that completes the text, in Latin-1. */
  readonly completion: string;
}

/** What may follow a beginning of a text. Equal states are the same object while they are kept. */
export interface MatchState {
  /** Whether the text may end here. */
  readonly accepts: boolean;
  /** The shortest string that completes the text, as bytes in a string of Latin-1; empty if the text may end. */
  readonly completion: string;
}

/** Limits the time that a caller spends on states that are new. */
export interface Budget {
  paths: number;
}

interface State extends MatchState {
  /** Paths that begin with a byte. */
  readonly paths: readonly Path[];
  /** By byte; null if the byte cannot follow. */
  readonly next: (State | null | undefined)[];
}

/**
 * Matches texts byte by byte. States are the partial derivatives of the grammar (Antimirov, Theoretical Computer
 * Science 1996), extended by rules: a path is a list of expressions, whose end is shared with other paths.
 */
export class Matcher {
  readonly start: MatchState;
  readonly #shortest: (expression: Expression) => string | undefined;
  readonly #paths = new Map<Expression, Map<string, Path>>();
  readonly #states = new Map<string, State>();
  #pathCount = 0;

  /** @param root an expression that a finite string matches; see `shortestStrings` */
  constructor(root: Expression, shortest = shortestStrings(root)) {
    this.#shortest = shortest;
    this.start = this.#stateOf([this.#path(root, 0, undefined)], false);
  }

  /**
   * The state after one more byte; undefined if the byte cannot follow.
   *
   * @param budget paths that may be expanded; without any left, only states that are known are found
   */
  next(state: MatchState, byte: number, budget?: Budget): MatchState | undefined {
    const from = state as State;
    const known = from.next[byte];
    if (known !== undefined) return known ?? undefined;
    if (budget && budget.paths <= 0) return undefined;
    const matching = from.paths.filter(({ head, done }) => matches(head, done, byte));
    const rests = matching.map((path) => this.#afterByte(path));
    const open = rests.flatMap((rest) => rest ?? []);
    const next = rests.length > 0 ? this.#stateOf(open, rests.includes(undefined), budget) : null;
    from.next[byte] = next;
    return next ?? undefined;
  }

  #afterByte({ head, done, rest }: Path): Path | undefined {
    return head.kind === "bytes" && done + 1 < head.bytes.length ? this.#path(head, done + 1, rest) : rest;
  }

  /** Expands paths until all of them begin with a byte. @param ends whether a path has already reached the end */
  #stateOf(paths: readonly Path[], ends: boolean, budget?: Budget): State {
    const seen = new Set<number>();
    const found: Path[] = [];
    let accepts = ends;
    const waiting: (Path | undefined)[] = paths.toReversed();
    while (waiting.length > 0) {
      const path = waiting.pop();
      if (path === undefined) accepts = true;
      if (path === undefined || seen.has(path.id)) continue;
      if (seen.size >= MAX_PATHS && found.length > 0) break;
      seen.add(path.id);
      const expanded = this.#expanded(path);
      if (expanded) waiting.push(...expanded);
      else found.push(path);
    }
    if (budget) budget.paths -= seen.size;
    return this.#intern(found, accepts);
  }

  #intern(paths: readonly Path[], accepts: boolean): State {
    const key = `${accepts}${paths.map(({ id }) => id).join()}`;
    const known = this.#states.get(key);
    if (known) return known;
    if (this.#states.size >= MAX_STATES) this.#forget();
    const completion = accepts ? "" : shortestOf(paths.map((path) => path.completion));
    const state: State = { accepts, completion, paths, next: [] };
    this.#states.set(key, state);
    return state;
  }

  /** States and paths that are in use stay valid; they only are no longer the same objects as equal ones. */
  #forget(): void {
    for (const state of this.#states.values()) state.next.length = 0;
    this.#states.clear();
    this.#paths.clear();
  }

  /** The paths that a path stands for, the first of them last; undefined if it begins with a byte. */
  #expanded({ head, done, rest }: Path): (Path | undefined)[] | undefined {
    switch (head.kind) {
      case "bytes":
        return head.bytes.length === 0 ? [rest] : undefined;
      case "range":
        return undefined;
      case "rule":
        return this.#followed([head.body], rest);
      case "choice":
        return head.options.flatMap((option) => this.#followed([option], rest)).reverse();
      case "sequence":
        return this.#followed(head.items, rest);
      case "repeat": {
        const ends = done >= head.least ? [rest] : [];
        if (done >= head.most) return [rest];
        // Without an upper bound, later repetitions do not differ.
        const after = Number.isFinite(head.most) ? done + 1 : Math.min(done + 1, head.least);
        return [...ends, ...this.#followed([head.item], this.#path(head, after, rest))];
      }
    }
  }

  /** No path if no finite string matches the items. */
  #followed(items: readonly Expression[], rest: Path | undefined): (Path | undefined)[] {
    if (items.some((item) => this.#shortest(item) === undefined)) return [];
    return [items.reduceRight<Path | undefined>((after, item) => this.#path(item, 0, after), rest)];
  }

  #path(head: Expression, done: number, rest: Path | undefined): Path {
    const ofHead = this.#paths.get(head) ?? new Map<string, Path>();
    this.#paths.set(head, ofHead);
    const key = `${done},${rest?.id ?? ""}`;
    const known = ofHead.get(key);
    if (known) return known;
    const completion = this.#restOf(head, done) + (rest?.completion ?? "");
    const path = { id: this.#pathCount++, head, done, rest, completion };
    ofHead.set(key, path);
    return path;
  }

  #restOf(head: Expression, done: number): string {
    if (head.kind === "repeat") {
      const missing = head.least - done;
      return missing > 0 ? (this.#shortest(head.item) ?? "").repeat(missing) : "";
    }
    return (this.#shortest(head) ?? "").slice(done);
  }
}

function matches(head: Expression, done: number, byte: number): boolean {
  if (head.kind === "bytes") return head.bytes[done] === byte;
  return head.kind === "range" && head.from <= byte && byte <= head.to;
}

function shortestOf(strings: readonly string[]): string {
  return strings.reduce((best, one) => (one.length < best.length ? one : best), strings[0] ?? "");
}
