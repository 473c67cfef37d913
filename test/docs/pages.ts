import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A fenced block of a page. */
export interface Block {
  readonly page: string;
  /** Line of the opening fence, from 1. */
  readonly line: number;
  readonly language: string;
  readonly code: string;
  /** The reason in a comment `not run: …` before the block, which rendered pages do not show. */
  readonly notRun: string | undefined;
}

/** Pages with examples; `docs/decisions` has none. */
export const pages: readonly string[] = [
  "README.md",
  ...readdirSync("docs")
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
];

/** Pages whose examples take most of a minute of one core, because they train or open the bundled model repeatedly. */
export const longPages: readonly string[] = [
  "README.md",
  "docs/build.md",
  "docs/command-line.md",
  "docs/quick-start.md",
  "docs/training.md",
  "docs/vlm.md",
];

const FENCE = /(?:^<!-- not run: ([^\n]+?) -->\n+)?^```(\w+)\n(.*?)^```$/gms;

/** The blocks of a page, in order. */
export function blocksOf(page: string): Block[] {
  const text = readFileSync(page, "utf8");
  return Array.from(text.matchAll(FENCE), (match) => {
    const [whole, notRun, language = "", code = ""] = match;
    const fence = match.index + whole.indexOf("```");
    return { page, line: text.slice(0, fence).split("\n").length, language, code, notRun };
  });
}

/** The commands of a shell block, each on one line, without comments. */
export function commandLines(code: string): string[] {
  return code
    .replace(/\\\n\s*/g, "")
    .split("\n")
    .map((line) => line.replace(/(^|\s)#.*$/, "").trim())
    .filter((line) => line !== "");
}
