import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import ts from "typescript";

/** A manifest with the fields that the tests read. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  // biome-ignore lint/suspicious/noExplicitAny: the tests check the structure
  readonly [key: string]: any;
}

/** The module of kubernetes-models, generated from the OpenAPI of Kubernetes, for an API version. */
function moduleOf({ apiVersion, kind }: Manifest): string {
  return `kubernetes-models/${apiVersion}/${kind}`;
}

/** @throws for a missing value, or one that does not match the schema of Kubernetes */
export function validateValues(manifest: Manifest): void {
  const require = createRequire(import.meta.url);
  const model = require(moduleOf(manifest))[manifest.kind];
  new model(manifest).validate();
}

/**
 * Finds keys that Kubernetes does not know. Its schemas allow them, but the compiler reports excess properties of an
 * object literal. Returns the messages of the compiler.
 */
export function unknownKeys(manifests: readonly Manifest[]): string[] {
  const text = manifests
    .map((manifest, index) => {
      const type = `import("${moduleOf(manifest)}").I${manifest.kind}`;
      return `export const manifest${index}: ${type} = ${JSON.stringify(manifest)};`;
    })
    .join("\n");
  // In the root of the project, so that imports are resolved. The file is never written.
  const path = resolve("manifests.ts");
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    module: ts.ModuleKind.CommonJS,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    target: ts.ScriptTarget.ES2022,
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (name) => name === path || fileExists(name);
  host.getSourceFile = (name, ...rest) =>
    name === path ? ts.createSourceFile(path, text, ts.ScriptTarget.ES2022) : getSourceFile(name, ...rest);
  const diagnostics = ts.getPreEmitDiagnostics(ts.createProgram([path], options, host));
  return diagnostics.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
}

/** Checks values and keys of manifests, which pass both. */
export function checkSchemas(all: readonly Manifest[]): void {
  for (const manifest of all) validateValues(manifest);
  assert.deepEqual(unknownKeys(all), []);
}
