import { createRequire } from "node:module";
import { resolve } from "node:path";
import ts from "typescript";

/** A manifest, as far as tests look into it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  // biome-ignore lint/suspicious/noExplicitAny: its form is what is being checked
  readonly [key: string]: any;
}

/** Where kubernetes-models, made from Kubernetes' own OpenAPI, keeps an API version: the core has no group. */
function moduleOf({ apiVersion, kind }: Manifest): string {
  return `kubernetes-models/${apiVersion}/${kind}`;
}

/** @throws what is missing, or of another type or form than Kubernetes says */
export function validateValues(manifest: Manifest): void {
  const require = createRequire(import.meta.url);
  const model = require(moduleOf(manifest))[manifest.kind];
  new model(manifest).validate();
}

/**
 * Keys that Kubernetes does not know, which its schemas let pass: as excess properties of an object literal, by the
 * compiler. Returns its messages.
 */
export function unknownKeys(manifests: readonly Manifest[]): string[] {
  const text = manifests
    .map((manifest, index) => {
      const type = `import("${moduleOf(manifest)}").I${manifest.kind}`;
      return `export const manifest${index}: ${type} = ${JSON.stringify(manifest)};`;
    })
    .join("\n");
  // Beside this project's packages, so that it finds them; it is never written.
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
