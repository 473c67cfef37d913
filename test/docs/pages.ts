import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A fenced block of a page. */
export interface Block {
  readonly page: string;
  /** Of the fence, from 1. */
  readonly line: number;
  readonly language: string;
  readonly code: string;
  /** Why it is not run, where a comment before it says so; readers do not see it. */
  readonly notRun: string | undefined;
}

/** Pages whose blocks are examples; `docs/decisions` has none. */
export const pages: readonly string[] = [
  "README.md",
  ...readdirSync("docs")
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
];

const FENCE = /(?:^<!-- not run: ([^\n]+?) -->\n+)?^```(\w+)\n(.*?)^```$/gms;

/** The blocks of a page, in their order. */
export function blocksOf(page: string): Block[] {
  const text = readFileSync(page, "utf8");
  return Array.from(text.matchAll(FENCE), (match) => {
    const [whole, notRun, language = "", code = ""] = match;
    const fence = match.index + whole.indexOf("```");
    return { page, line: text.slice(0, fence).split("\n").length, language, code, notRun };
  });
}

/** Commands of a shell block, each on one line, without comments. */
export function commandLines(code: string): string[] {
  return code
    .replace(/\\\n\s*/g, "")
    .split("\n")
    .map((line) => line.replace(/(^|\s)#.*$/, "").trim())
    .filter((line) => line !== "");
}
