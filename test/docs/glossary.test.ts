import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";

/** The places that the glossary gives as `NAME` and `NAME`, `FOLDER`; … */
function places(): { readonly names: readonly string[]; readonly path: string }[] {
  const glossary = readFileSync("docs/glossary.md", "utf8");
  const entries = Array.from(glossary.matchAll(/_Code_:\s([\s\S]*?)\n\n/g), ([, entry = ""]) => entry);
  return entries.flatMap((entry) =>
    entry.split(/;/).map((place) => {
      const quoted = Array.from(place.matchAll(/`([^`]+)`/g), ([, text = ""]) => text);
      const isPath = (text: string) => /^(src|models)\b/.test(text);
      const path = quoted.find(isPath) ?? "";
      return { names: quoted.filter((text) => !isPath(text)), path };
    }),
  );
}

function sourceOf(path: string): string {
  if (statSync(path).isFile()) return readFileSync(path, "utf8");
  const files = readdirSync(path, { recursive: true }).map((name) => join(path, String(name)));
  return files
    .filter((name) => name.endsWith(".ts"))
    .map((name) => readFileSync(name, "utf8"))
    .join("\n");
}

describe("the glossary", () => {
  const found = places();

  it("has an entry for each of forty terms or more, with its place in the code", () => {
    assert.ok(found.length >= 40, `${found.length}`);
  });

  it("names places that exist", () => {
    for (const { names, path } of found) {
      assert.ok(path !== "" && existsSync(path), `${names.join(", ")}: '${path}' is no place of the repository`);
      const source = sourceOf(path);
      for (const name of names) {
        const word = name.split(".").at(-1) ?? "";
        assert.ok(new RegExp(`\\b${word}\\b`).test(source), `'${name}' is not in ${path}`);
      }
    }
  });
});
