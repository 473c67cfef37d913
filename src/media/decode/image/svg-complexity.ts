import { EpalmError } from "../../../core/errors.js";

/** Drawings in icon sets and encyclopedias have up to a tenth of each. */
export const MAX_SVG_BYTES = 2 * 1024 * 1024;
export const MAX_SVG_ELEMENTS = 20_000;

/** Elements that are drawn when each reference (`<use>`, patterns, masks, …) is replaced with what it refers to. */
const MAX_DRAWN_ELEMENTS = 100_000;

/** Nesting of references; it also bounds the recursion of this check. */
const MAX_DEPTH = 64;

/** An element with an id, or the whole drawing. */
interface Part {
  /** Elements in it, without those it refers to. */
  elements: number;
  /** Ids to which its elements refer. */
  readonly references: string[];
}

/**
 * Rejects drawings that are much larger than ordinary ones, before librsvg reads them: an element takes it about 5 kB,
 * and nested references multiply. References in style sheets and entities are not followed; the limits of the process
 * apply to them.
 *
 * @throws too_large
 */
export function checkSvg(bytes: Uint8Array, where: string): void {
  const refuse = (most: number, what: string) => {
    throw new EpalmError("too_large", `${where}: expected an SVG of at most ${most} ${what}`);
  };
  if (bytes.length > MAX_SVG_BYTES) refuse(MAX_SVG_BYTES, `bytes, got ${bytes.length}`);
  const parts = new Map<string, Part>();
  const whole: Part = { elements: 0, references: [] };
  const open: (Part | undefined)[] = [];
  for (const { isEnd, isEmpty, id, references } of tagsOf(Buffer.from(bytes).toString("latin1"))) {
    if (isEnd) {
      open.pop();
      continue;
    }
    const outer = open.at(-1);
    const part = id === undefined || parts.has(id) ? undefined : { elements: 0, references: [] };
    if (id !== undefined && part) {
      parts.set(id, part);
      outer?.references.push(id);
    }
    const own = part ?? outer;
    for (const one of own ? [whole, own] : [whole]) {
      one.elements++;
      one.references.push(...references);
    }
    if (!isEmpty) open.push(own);
    if (whole.elements > MAX_SVG_ELEMENTS) refuse(MAX_SVG_ELEMENTS, "elements");
  }
  if (drawnElements(whole, parts) > MAX_DRAWN_ELEMENTS) refuse(MAX_DRAWN_ELEMENTS, "elements with all references");
}

function drawnElements(whole: Part, parts: ReadonlyMap<string, Part>): number {
  const known = new Map<Part, number>();
  const count = (part: Part, depth: number): number => {
    const before = known.get(part);
    if (before !== undefined) return before;
    if (depth > MAX_DEPTH) return Number.POSITIVE_INFINITY;
    // librsvg does not draw an element within itself.
    known.set(part, 0);
    let sum = part.elements;
    for (const id of part.references) {
      const referred = parts.get(id);
      if (referred) sum += count(referred, depth + 1);
    }
    known.set(part, sum);
    return sum;
  };
  return count(whole, 0);
}

interface Tag {
  readonly isEnd: boolean;
  readonly isEmpty: boolean;
  readonly id: string | undefined;
  /** Ids to which the attributes refer. */
  readonly references: readonly string[];
}

/** The tags of a document, in linear time for any input. */
function* tagsOf(text: string): Generator<Tag> {
  for (let at = text.indexOf("<"); at >= 0; at = text.indexOf("<", at)) {
    const [, opaqueEnd] = opaque.find(([start]) => text.startsWith(start, at)) ?? [];
    if (opaqueEnd !== undefined) {
      const end = text.indexOf(opaqueEnd, at);
      at = end < 0 ? text.length : end + opaqueEnd.length;
      continue;
    }
    const end = endOfTag(text, at + 1);
    const tag = text.slice(at + 1, end);
    at = end;
    if (!/^[/A-Za-z_]/.test(tag)) continue;
    yield {
      isEnd: tag.startsWith("/"),
      isEmpty: tag.endsWith("/"),
      id: /\sid\s*=\s*["']([^"']*)/.exec(tag)?.[1],
      references: Array.from(tag.matchAll(/(?:url\(\s?["']?|href\s?=\s?["'])#([^"')\s]+)/g), ([, id = ""]) => id),
    };
  }
}

/** Where markup does not count: each start and its end. */
const opaque = [
  ["<!--", "-->"],
  ["<![CDATA[", "]]>"],
  ["<?", "?>"],
] as const;

/** The position of the `>` outside quotes. */
function endOfTag(text: string, start: number): number {
  let quote = "";
  for (let at = start; at < text.length; at++) {
    const character = text.charAt(at);
    if (quote === "" && character === ">") return at;
    if (quote === "" && (character === '"' || character === "'")) quote = character;
    else if (character === quote) quote = "";
  }
  return text.length;
}
