// Removes the files that `epalm` never loads on a platform from an installed node_modules; the last step of the
// Dockerfile's stage `packages`. Licences and notices are kept. Usage: node scripts/prune-packages.js NODE_MODULES
// [PLATFORM] [ARCH] (default: those of this process)
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

/** The browser runtime, which only the browser bundle of transformers.js imports. */
const UNUSED_PACKAGES = ["onnxruntime-web"];

/** Bundles other than `transformers.node.*`, which Node loads. */
const UNUSED_BUNDLES = /^(transformers\.((node|web)\.min|web|min)\.\w+|transformers\.js|ort-wasm.*)$/;

/** Source maps, type declarations, and documents other than licences. */
const UNUSED_FILES = /(\.map|\.d\.[cm]?ts|\.md|\.markdown|\.tsbuildinfo)$/i;
const LEGAL_FILES = /^(licen[cs]e|notice|copying|copyright|third.?party)/i;

/** Only at the top level of a package: further down, folders with these names contain code. */
const UNUSED_FOLDERS = new Set([
  ".github",
  "__tests__",
  "bench",
  "benchmark",
  "benchmarks",
  "doc",
  "docs",
  "example",
  "examples",
  "test",
  "tests",
]);

const [folder, platform = process.platform, arch = process.arch] = process.argv.slice(2);
if (folder === undefined || !existsSync(folder)) {
  console.error("usage: node scripts/prune-packages.js NODE_MODULES [PLATFORM] [ARCH]");
  process.exit(1);
}
prune(folder);

function prune(packages) {
  for (const name of UNUSED_PACKAGES) remove(join(packages, name));
  for (const path of packageFolders(packages)) {
    for (const name of readdirSync(path)) if (UNUSED_FOLDERS.has(name)) remove(join(path, name));
  }
  keepOneRuntime(join(packages, "onnxruntime-node", "bin"));
  removeFiles(join(packages, "@xenova", "transformers", "dist"), (name) => UNUSED_BUNDLES.test(name));
  removeFiles(packages, (name) => UNUSED_FILES.test(name) && !LEGAL_FILES.test(name));
}

/** The folders of all packages, including nested ones. */
function packageFolders(packages) {
  if (!existsSync(packages)) return [];
  return readdirSync(packages, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .flatMap(({ name }) => {
      const path = join(packages, name);
      if (name.startsWith("@")) return packageFolders(path);
      return [path, ...packageFolders(join(path, "node_modules"))];
    });
}

/** Keeps one folder of `bin/napi-vN/PLATFORM/ARCH`, which must exist, and removes the others. */
function keepOneRuntime(bin) {
  const [version, ...others] = readdirSync(bin);
  const kept = join(bin, version ?? "", platform, arch);
  if (others.length > 0 || !existsSync(kept)) {
    console.error(`${kept}: onnxruntime-node has no library for this platform, or its layout has changed`);
    process.exit(1);
  }
  for (const path of [join(bin, version), join(bin, version, platform)]) {
    for (const name of readdirSync(path)) {
      if (name !== platform && !kept.endsWith(join(platform, name))) remove(join(path, name));
    }
  }
}

function removeFiles(root, isUnused) {
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && isUnused(entry.name)) remove(join(entry.parentPath, entry.name));
  }
}

function remove(path) {
  rmSync(path, { recursive: true, force: true });
}
