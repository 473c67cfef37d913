import { execFile } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { unexpected } from "../src/core/errors.js";

/** So that it can be attached to a message or copied to a borrowed machine. */
const MAX_BYTES = 60 * 2 ** 20;

const project = fileURLToPath(new URL("../../", import.meta.url));

/** The programs of the archive, whose modules and packages are packed. */
const entries = ["./device-program.js", "./device-costs.worker.js"];

/** Packages that only the installation of onnxruntime-node uses. */
const installers = new Set(["adm-zip", "global-agent"]);

const START = `#!/bin/sh
# Measures the CPU and every other device of this machine in at most eight minutes. It needs no network.
cd "$(dirname "$0")" && exec ./node dist/bench/device-program.js
`;

/**
 * Writes a tar archive with Node, ONNX Runtime for Linux on x64 and the measurement `device`.
 *
 * @returns a description of the archive
 * @throws invalid_option on another platform, or if the archive is too large
 */
export async function packDevice(output: string): Promise<string> {
  const platform = `${process.platform} ${process.arch}`;
  if (platform !== "linux x64")
    throw unexpected("invalid_option", "--pack", "linux x64, whose Node is packed", platform);
  const folder = mkdtempSync(join(tmpdir(), "epalm-pack-"));
  try {
    const root = join(folder, "epalm-device");
    copyFiles(root);
    cpSync(process.execPath, join(root, "node"));
    writeFileSync(join(root, "run"), START);
    for (const name of ["node", "run"]) chmodSync(join(root, name), 0o755);
    await promisify(execFile)("tar", ["-c", "-I", "gzip -9", "-f", resolve(output), "-C", folder, "epalm-device"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
  const { size } = statSync(output);
  if (size > MAX_BYTES) throw unexpected("invalid_option", output, `at most ${MAX_BYTES} bytes`, size);
  return `${output}: ${(size / 2 ** 20).toFixed(1)} MiB; on the other machine: tar -xf it, then epalm-device/run`;
}

/** Copies the modules that the programs import, and their packages without files for other platforms. */
function copyFiles(root: string): void {
  const { modules, packages } = importedBy(entries.map((entry) => fileURLToPath(new URL(entry, import.meta.url))));
  cpSync(join(project, "package.json"), join(root, "package.json"));
  for (const path of modules) copyInto(root, path);
  const foreign = /onnxruntime-node\/(?:script|bin\/napi-v\d+\/(?!linux(?:\/x64|$))[^/]+)/;
  const isUsed = (path: string) => !foreign.test(path) && !/\.(?:map|ts|cts|mts|md)$/.test(path);
  for (const name of packages) {
    mkdirSync(join(root, "node_modules"), { recursive: true });
    cpSync(join(project, "node_modules", name), join(root, "node_modules", name), { recursive: true, filter: isUsed });
  }
}

function copyInto(root: string, path: string): void {
  const target = join(root, relative(project, path));
  mkdirSync(dirname(target), { recursive: true });
  cpSync(path, target);
}

/** The modules that some modules import, directly or not, or start as workers, and the packages that all need. */
function importedBy(starts: readonly string[]): { modules: ReadonlySet<string>; packages: ReadonlySet<string> } {
  const modules = new Set<string>();
  const packages = new Set<string>();
  const visit = (path: string) => {
    if (modules.has(path)) return;
    modules.add(path);
    // Examples in comments import packages, too.
    const code = readFileSync(path, "utf8").replaceAll(/^\s*\*.*$/gm, "");
    for (const [, name = ""] of code.matchAll(/(?:from|import|URL\()\s*\(?"([^"\s]+)"/g)) {
      if (name.startsWith(".") && name.endsWith(".js")) visit(join(dirname(path), name));
      else if (!name.startsWith(".") && !name.startsWith("node:")) addPackage(name, packages);
    }
  };
  for (const start of starts) visit(start);
  return { modules, packages };
}

/** Adds a package and its own dependencies, which npm installs beside it. */
function addPackage(specifier: string, packages: Set<string>): void {
  const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
  if (packages.has(name) || installers.has(name)) return;
  packages.add(name);
  const manifest = readFileSync(join(project, "node_modules", name, "package.json"), "utf8");
  const { dependencies = {} } = JSON.parse(manifest) as { readonly dependencies?: Readonly<Record<string, string>> };
  for (const dependency of Object.keys(dependencies)) addPackage(dependency, packages);
}
