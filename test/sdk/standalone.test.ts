import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";

/*
 * The compiled client runs in environments that have only web APIs.
 */

const folder = "dist/src/sdk";
const IMPORT = /(?:\bfrom\s*|\bimport\s*\(?\s*)(["'])([^"']+)\1/g;

/** The code of a compiled module. Examples in comments import the package and use Node's globals. */
function codeOf(file: string): string {
  return readFileSync(file, "utf8").replace(/\/\*[\s\S]*?\*\//g, "");
}

/** All modules that the client imports, directly or not, and the imports of each. */
function reached(start: string, found = new Map<string, string[]>()): Map<string, string[]> {
  if (found.has(start)) return found;
  const imports = Array.from(codeOf(start).matchAll(IMPORT), ([, , name = ""]) => name);
  found.set(start, imports);
  for (const name of imports.filter((name) => name.startsWith("."))) reached(join(dirname(start), name), found);
  return found;
}

test("imports only files of its own, and node:fs lazily in one place", () => {
  const modules = reached(join(folder, "index.js"));
  assert.ok(modules.size > 10);
  for (const [file, imports] of modules) {
    assert.match(
      file,
      /^dist\/src\/(sdk\/[\w-]+|core\/(errors|modality|answer-stream|chunks|encoded-bytes)|generation\/option-table)\.js$/,
    );
    const foreign = imports.filter((name) => !name.startsWith("."));
    assert.deepEqual(foreign, file.endsWith("/read-path.js") ? ["node:fs"] : [], file);
  }
  assert.match(readFileSync(join(folder, "read-path.js"), "utf8"), /await import\("node:fs"\)/);
  // The sources use no globals of Node.
  const own = readdirSync(folder).map((name) => join(folder, name));
  for (const file of new Set([...own.filter((name) => name.endsWith(".js")), ...modules.keys()])) {
    assert.doesNotMatch(codeOf(file), /\b(process|Buffer|require|__dirname)\b[.([]/, file);
  }
});

test("replaces the module that reads files in browsers by one with the same export", async () => {
  const { browser } = JSON.parse(readFileSync("package.json", "utf8")) as { browser: Record<string, string> };
  const [[module = "", substitute = ""] = []] = Object.entries(browser);
  assert.ok(existsSync(module) && existsSync(substitute));
  const own: object = await import(join(process.cwd(), module));
  const other = (await import(join(process.cwd(), substitute))) as { readPath(): Promise<unknown> };
  assert.deepEqual(Object.keys(other), Object.keys(own));
  await assert.rejects(other.readPath(), { code: "invalid_option" });
});

test("exports the client as epalm/sdk", async () => {
  const name: string = "epalm/sdk";
  const sdk = (await import(name)) as Record<string, unknown>;
  assert.deepEqual(Object.keys(sdk).sort(), [
    "EpalmApiError",
    "EpalmClient",
    "EpalmConnectionError",
    "EpalmError",
    "EpalmTimeoutError",
  ]);
});
