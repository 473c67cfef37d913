// Rejects a list of phrases and comments wider than the formatter's limit; part of npm run check. docs/glossary.md
// defines the terms to use instead. All other questions of language are left to review.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import ts from "typescript";

const { formatter } = JSON.parse(readFileSync("biome.json", "utf8"));

const phrases = [
  ["taken back", "cancelled"],
  ["numbers that are none", "NaN or Infinity"],
  ["samples that are none", "NaN or Infinity"],
  ["is none of", "is not one of"],
  ["nought", "zero"],
  ["seldom", "rarely"],
  ["blind twin", "text-only baseline"],
  ["taken for", "interpreted as"],
  ["told apart", "distinguished"],
  ["goes on where", "continues where, resumes where"],
  ["in the house", "in flight"],
].map(([phrase, instead]) => ({ pattern: new RegExp(`\\b${phrase}\\b`, "i"), phrase, instead }));

const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { encoding: "utf8" })
  .split("\n")
  .filter((path) => /\.(ts|js|md|ya?ml|html)$/.test(path))
  .filter((path) => !/^(test\/fixtures|models\/default\/samples)\/|^(LICENSE|THIRD-PARTY)|check-words\.js$/.test(path));

const faults = [];
for (const path of files) {
  const text = readFileSync(path, "utf8");
  const lines = text.split("\n");
  lines.forEach((line, index) => {
    for (const { pattern, phrase, instead } of phrases) {
      if (pattern.test(line)) faults.push(`${path}:${index + 1}: '${phrase}': write ${instead}`);
    }
  });
  if (/\.(ts|js)$/.test(path)) faults.push(...commentFaults(path, text, lines));
}

function commentFaults(path, text, lines) {
  const found = [];
  for (const { line, comment } of commentsOf(text)) {
    if (/^(\/\*\*?|\/\/)\s*Of\b/.test(comment))
      found.push(`${path}:${line}: a comment begins with 'Of': name the subject`);
    comment.split("\n").forEach((text, at) => {
      if (at > 0 && /^\s*\*\s+of\b/i.test(text))
        found.push(`${path}:${line + at}: a line of a comment begins with 'of': wrap it elsewhere`);
    });
    const height = comment.split("\n").length;
    for (let at = line; at < line + height; at++) {
      const width = lines[at - 1]?.length ?? 0;
      if (width > formatter.lineWidth)
        found.push(`${path}:${at}: a comment of ${width} columns, at most ${formatter.lineWidth}`);
    }
  }
  return found;
}

function commentsOf(text) {
  const source = ts.createSourceFile("file.ts", text, ts.ScriptTarget.Latest, true);
  const starts = new Map();
  const collect = (position, ranges) => {
    for (const { pos, end } of ranges(text, position) ?? []) starts.set(pos, end);
  };
  const visit = (node) => {
    collect(node.getFullStart(), ts.getLeadingCommentRanges);
    collect(node.getEnd(), ts.getTrailingCommentRanges);
    for (const child of node.getChildren(source)) visit(child);
  };
  visit(source);
  return Array.from(starts, ([pos, end]) => ({
    line: source.getLineAndCharacterOfPosition(pos).line + 1,
    comment: text.slice(pos, end),
  }));
}

for (const fault of faults) console.error(fault);
console.log(`words: ${faults.length} faults in ${files.length} files`);
process.exit(faults.length > 0 ? 1 : 0);
