import assert from "node:assert/strict";
import { resolve } from "node:path";
import { describe, it } from "node:test";
import ts from "typescript";
import { blocksOf, pages } from "./pages.js";

/** What users import: `epalm`, `epalm/sdk` and `epalm/fedmae`. */
const entries = ["src/index.ts", "src/sdk/index.ts", "src/fedmae.ts"].map((path) => resolve(path));

const options: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  lib: ["lib.es2023.d.ts"],
  types: ["node"],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: true,
  noEmit: true,
};

interface Export {
  readonly name: string;
  readonly isValue: boolean;
  readonly doc: string;
  readonly examples: readonly string[];
}

function exportsOf(path: string, program: ts.Program): Export[] {
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(path);
  const module = source && checker.getSymbolAtLocation(source);
  assert.ok(module, path);
  return checker.getExportsOfModule(module).map((exported) => {
    const isAlias = (exported.flags & ts.SymbolFlags.Alias) !== 0;
    const symbol = isAlias ? checker.getAliasedSymbol(exported) : exported;
    return {
      name: exported.name,
      isValue: (symbol.flags & ts.SymbolFlags.Value) !== 0,
      doc: ts.displayPartsToString(symbol.getDocumentationComment(checker)),
      examples: symbol
        .getJsDocTags(checker)
        .filter((tag) => tag.name === "example")
        .map((tag) => ts.displayPartsToString(tag.text)),
    };
  });
}

/** Type-checks programs that import the package under its own name. */
function errorsIn(programs: ReadonlyMap<string, string>): string[] {
  const files = new Map(Array.from(programs, ([name, text]) => [resolve(`example-of-${name}.ts`), text]));
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (path) => files.has(path) || fileExists(path);
  host.readFile = (path) => files.get(path) ?? readFile(path);
  host.getSourceFile = (path, ...rest) => {
    const text = files.get(path);
    return text === undefined
      ? getSourceFile.call(host, path, ...rest)
      : ts.createSourceFile(path, text, ts.ScriptTarget.ES2023);
  };
  const program = ts.createProgram(Array.from(files.keys()), options, host);
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`);
}

describe("the documentation of the package's exports", () => {
  const program = ts.createProgram(entries, options);
  const exported = entries.flatMap((path) => exportsOf(path, program));

  it("describes every export", () => {
    assert.deepEqual(
      exported.filter(({ doc }) => doc === "").map(({ name }) => name),
      [],
    );
  });

  it("has an example of every function, class and constant, which type-checks, as those of the pages do", () => {
    const values = exported.filter(({ isValue }) => isValue);
    assert.ok(values.length > 40);
    assert.deepEqual(
      values.filter(({ examples }) => examples.length === 0).map(({ name }) => name),
      [],
    );
    const ofExports = values.flatMap(({ name, examples }) =>
      examples.map((example, index): [string, string] => [
        `${name}-${index}`,
        example.replace(/^```ts\n|\n```\s*$/g, ""),
      ]),
    );
    const ofPages = pages
      .flatMap(blocksOf)
      .filter(({ language }) => language === "ts")
      .map(({ page, line, code }): [string, string] => [`${page.replaceAll(/\W/g, "-")}-${line}`, code]);
    assert.ok(ofPages.length > 0);
    assert.deepEqual(errorsIn(new Map([...ofExports, ...ofPages])), []);
  });
});
