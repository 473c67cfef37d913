// Prints figures about the structure of the sources. Usage: npm run structure -- [FOLDER OF A CHECKOUT]
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import ts from "typescript";

const { positionals } = parseArgs({ allowPositionals: true });
const [root = "."] = positionals;

function filesIn(folder) {
  return readdirSync(join(root, folder), { recursive: true })
    .map((name) => join(folder, String(name)))
    .filter((name) => name.endsWith(".ts"))
    .map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));
}

const linesOf = ({ text }) => text.trimEnd().split("\n").length;
const lines = (files) => files.reduce((sum, file) => sum + linesOf(file), 0);
const matching = (files, pattern) => files.filter(({ text }) => pattern.test(text)).map(({ path }) => path);

/** Counts `as T` and `<T>x`. `as const` does not change the type, and imports are not expressions. */
function casts({ path, text }) {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  let count = 0;
  const visit = (node) => {
    const isConst = ts.isAsExpression(node) && node.type.getText(source) === "const";
    if ((ts.isAsExpression(node) && !isConst) || ts.isTypeAssertionExpression(node)) count++;
    ts.forEachChild(node, visit);
  };
  visit(source);
  return count;
}

/** Files that mention at least eight of the generation options, by any of their names. */
const options = [
  /\b(maxNewTokens|max_tokens|--max-tokens)\b/,
  /\b(minNewTokens|min_tokens|--min-tokens)\b/,
  /\bbeams\b/,
  /\b(lengthPenalty|length_penalty|--length-penalty)\b/,
  /\b(earlyStopping|early_stopping|--early-stopping)\b/,
  /\btemperature\b/,
  /\b(topK|top_k|--top-k)\b/,
  /\b(topP|top_p|--top-p)\b/,
  /\bseed\b/,
];
const listsOptions = ({ text }) => options.filter((option) => option.test(text)).length >= 8;

const src = filesIn("src");
const recipe = filesIn("models");
const perFolder = new Map();
for (const { path } of src) perFolder.set(dirname(path), (perFolder.get(dirname(path)) ?? 0) + 1);
const count = (files) => files.reduce((sum, file) => sum + casts(file), 0);

/** Lines without comments and blank lines. */
function codeLines(files) {
  return files.reduce((sum, { path, text }) => {
    const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
    const lines = new Set();
    const visit = (node) => {
      if (ts.isJSDoc(node)) return;
      if (node.getChildCount(source) === 0) {
        const first = source.getLineAndCharacterOfPosition(node.getStart(source)).line;
        const last = source.getLineAndCharacterOfPosition(node.getEnd()).line;
        for (let line = first; line <= last; line++) lines.add(line);
      }
      for (const child of node.getChildren(source)) visit(child);
    };
    visit(source);
    return sum + lines.size;
  }, 0);
}

const figures = {
  "files in src": src.length,
  "lines in src": lines(src),
  "lines of code in src (no comments, no blank lines)": codeLines(src),
  "files in models/recipe": recipe.length,
  "lines in models/recipe": lines(recipe),
  "lines of code in models/recipe": codeLines(recipe),
  "files of 2 to 20 lines in src": src.filter((file) => linesOf(file) >= 2 && linesOf(file) <= 20).length,
  "folders of src with more than 20 files": Array.from(perFolder.values()).filter((n) => n > 20).length,
  "files that list the generation options": src.filter(listsOptions).length,
  "training loops (files that step an optimizer)": matching([...src, ...recipe], /\.step\(\{/).length,
  "files that rename a temporary file": matching(src, /\brename(Sync)?\(.*(part|temporary)/).length,
  "copies of 'safeParse, then throw'": src.reduce(
    (sum, { text }) => sum + (text.match(/safeParse\([^;]*;[^;]*(success|error)[^;]*(;[^;]*)?throw/g) ?? []).length,
    0,
  ),
  "casts in src": count(src),
  "casts in models/recipe": count(recipe),
};
for (const [name, value] of Object.entries(figures)) console.log(`${String(value).padStart(6)}  ${name}`);
