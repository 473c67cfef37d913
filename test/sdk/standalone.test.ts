import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";

/*
 * The compiled client runs where there is nothing but the web's own interfaces.
 */

const folder = "dist/src/sdk";
const IMPORT = /(?:\bfrom\s*|\bimport\s*\(?\s*)(["'])([^"']+)\1/g;

/** Every module that the client reaches, and what each imports. */
function reached(start: string, found = new Map<string, string[]>()): Map<string, string[]> {
  if (found.has(start)) return found;
  // The last line names a source map.
  const imports = Array.from(readFileSync(start, "utf8").matchAll(IMPORT), ([, , name = ""]) => name);
  found.set(start, imports);
  for (const name of imports.filter((name) => name.startsWith("."))) reached(join(dirname(start), name), found);
  return found;
}

test("the compiled client imports nothing but its own files, and node:fs lazily in one place", () => {
  const modules = reached(join(folder, "index.js"));
  assert.ok(modules.size > 10);
  for (const [file, imports] of modules) {
    assert.match(
      file,
      /^dist\/src\/(sdk\/[\w-]+|core\/(errors|modality|answer-stream|chunks)|generation\/option-table)\.js$/,
    );
    const foreign = imports.filter((name) => !name.startsWith("."));
    assert.deepEqual(foreign, file.endsWith("/read-path.js") ? ["node:fs"] : [], file);
  }
  assert.match(readFileSync(join(folder, "read-path.js"), "utf8"), /await import\("node:fs"\)/);
  // The sources name no global of Node's.
  const own = readdirSync(folder).map((name) => join(folder, name));
  for (const file of new Set([...own.filter((name) => name.endsWith(".js")), ...modules.keys()])) {
    assert.doesNotMatch(readFileSync(file, "utf8"), /\b(process|Buffer|require|__dirname)\b[.([]/, file);
  }
});

test("a browser gets another module where files are read, with the same export", async () => {
  const { browser } = JSON.parse(readFileSync("package.json", "utf8")) as { browser: Record<string, string> };
  const [[module = "", substitute = ""] = []] = Object.entries(browser);
  assert.ok(existsSync(module) && existsSync(substitute));
  const own: object = await import(join(process.cwd(), module));
  const other = (await import(join(process.cwd(), substitute))) as { readPath(): Promise<unknown> };
  assert.deepEqual(Object.keys(other), Object.keys(own));
  await assert.rejects(other.readPath(), { code: "invalid_option" });
});

test("the package exports the client under its own name", async () => {
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
